// One time axis for what an object had to do, and what it had to do it with.
/* global uPlot */
const most = 2000; // points
const charts = {};
let points = new Map(), decisions = [];

export function forget() {
  points = new Map();
  decisions = [];
  clear();
}

function clear() {
  for (const id of Object.keys(charts)) { charts[id].destroy(); delete charts[id]; }
}

const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

// marks draws a line for each decision that changed the replicas.
const marks = {
  hooks: {
    draw: [(u) => {
      u.ctx.save();
      u.ctx.strokeStyle = color("--quiet");
      u.ctx.setLineDash([3, 4]);
      for (const at of decisions) {
        const x = u.valToPos(at, "x", true);
        if (x < u.bbox.left || x > u.bbox.left + u.bbox.width) continue;
        u.ctx.beginPath();
        u.ctx.moveTo(x, u.bbox.top);
        u.ctx.lineTo(x, u.bbox.top + u.bbox.height);
        u.ctx.stroke();
      }
      u.ctx.restore();
    }],
  },
};

const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const hours = (u, times) => times.map((t) => clock.format(t * 1000).replace(/:00$/, ""));

function chart(id, series) {
  const place = document.getElementById(id);
  const axis = { stroke: color("--quiet"), font: "11px system-ui, sans-serif", grid: { stroke: color("--line"), width: 1 }, ticks: { show: false } };
  return new uPlot({
    width: place.clientWidth, height: tall, plugins: [marks],
    cursor: { sync: { key: "object" }, points: { size: 6 }, drag: { setScale: false } },
    legend: { live: true },
    scales: {
      x: { range: (_, min, max) => [Math.min(min, max - 60), max] }, // a minute at least
      y: { range: (_, __, max) => [0, Math.max(max * 1.15, 1)] },
    },
    axes: [{ ...axis, values: hours, space: 80, size: 26 }, { ...axis, size: 48, space: 36, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 2e5, 5e5, 1e6, 1e7, 1e8, 1e9] }],
    series: [{ label: "at", value: (_, t) => t ? clock.format(t * 1000) : "-" },
      ...series.map(([label, stroke, dash]) => ({
        label, stroke: color(stroke), width: 2, dash, points: { show: false }, spanGaps: false, paths: uPlot.paths.stepped({ align: 1 }),
        value: (_, v) => v === null || v === undefined ? "-" : String(Math.round(v * 100) / 100),
      }))],
  }, [[], ...series.map(() => [])], place);
}

const tall = 170;
let row = null;

// draw adds what is told of an object, and now, which is how it is now.
export function draw(detail, now) {
  for (const p of detail.told ?? []) points.set(Date.parse(p.time) / 1000, { ...p, told: true });
  for (const p of detail.points ?? []) points.set(Date.parse(p.time) / 1000, p);
  decisions = (detail.decisions ?? []).map((d) => Date.parse(d.time) / 1000);
  row = now;
  show();
}

function show() {
  if (!points.size) return;
  const times = [...points.keys()].sort((a, b) => a - b).slice(-most);
  points = new Map(times.map((t) => [t, points.get(t)]));
  const now = Math.max(Date.now() / 1000, times.at(-1));
  // What is not known is a gap; a decision says nothing of what an HPA wants, which is
  // as it was.
  const line = (of) => {
    let last = null;
    const values = times.map((t) => { const p = points.get(t); return last = p[of] ?? (p.told && of === "desired" ? last : null); });
    return [...values, row && of !== "target" ? row[of] ?? null : last];
  };
  const x = [...times, now];
  charts.work ??= chart("work", [["work", "--link"], ["target", "--quiet", [4, 4]]]);
  charts.replicas ??= chart("replicas", [["replicas", "--active"], ["wanted", "--fallback", [4, 4]]]);
  charts.work.setData([x, line("backlog"), line("target")]);
  charts.replicas.setData([x, line("replicas"), line("desired")]);
}

addEventListener("resize", () => {
  for (const [id, c] of Object.entries(charts)) c.setSize({ width: document.getElementById(id).clientWidth, height: tall });
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { clear(); show(); });
