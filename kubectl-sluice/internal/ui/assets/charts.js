// One time axis for what an object had to do, and what it had to do it with.
/* global uPlot */
const most = 2000; // points
const charts = {};
let points = new Map(), decisions = [];

export function forget() {
  points = new Map();
  decisions = [];
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

function chart(id, title, series) {
  const place = document.getElementById(id);
  const axis = { stroke: color("--quiet"), grid: { stroke: color("--line"), width: 1 }, ticks: { stroke: color("--line") } };
  return new uPlot({
    title, width: place.clientWidth, height: 190, plugins: [marks],
    cursor: { sync: { key: "object" } },
    scales: { y: { range: (_, __, max) => [0, Math.max(max * 1.1, 1)] } },
    axes: [axis, { ...axis, size: 60 }],
    series: [{}, ...series.map(([label, stroke, dash]) => ({ label, stroke: color(stroke), width: 2, dash, spanGaps: false, paths: uPlot.paths.stepped({ align: 1 }) }))],
  }, [[], ...series.map(() => [])], place);
}

// draw adds what is told of an object, and row, which is how it is now.
export function draw(detail, row) {
  for (const p of [...(detail.told ?? []), ...(detail.points ?? [])]) points.set(Date.parse(p.time) / 1000, p);
  decisions = (detail.decisions ?? []).map((d) => Date.parse(d.time) / 1000);
  const times = [...points.keys()].sort((a, b) => a - b).slice(-most);
  points = new Map(times.map((t) => [t, points.get(t)]));
  const data = (of) => times.map((t) => points.get(t)[of] ?? null);
  const now = Date.now() / 1000;
  // Up to now it is as it is known to be; what is not known is a gap.
  const known = row ? { backlog: row.backlog, replicas: row.replicas, desired: row.desired, target: points.get(times.at(-1))?.target } : {};
  const x = [...times, now];
  const y = (of) => [...data(of), known[of] ?? null];
  charts.work ??= chart("work", "Work", [["work", "--link"], ["target for the replicas there are", "--quiet", [4, 4]]]);
  charts.replicas ??= chart("replicas", "Replicas", [["replicas", "--active"], ["wanted", "--fallback", [4, 4]]]);
  charts.work.setData([x, y("backlog"), y("target")]);
  charts.replicas.setData([x, y("replicas"), y("desired")]);
}

addEventListener("resize", () => {
  for (const [id, c] of Object.entries(charts)) c.setSize({ width: document.getElementById(id).clientWidth, height: 190 });
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", forget);
