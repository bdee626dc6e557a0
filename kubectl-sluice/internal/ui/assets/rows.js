// What rows have to do with filters, orders and words.

export function matches(row, filter) {
  const text = filter.text.trim().toLowerCase();
  return (!text || `${row.namespace}/${row.name}`.toLowerCase().includes(text)) &&
    (!filter.namespace || row.namespace === filter.namespace) &&
    (!filter.family || (row.families ?? []).includes(filter.family)) &&
    (filter.states.size === 0 || filter.states.has(row.state));
}

const attention = ["failing", "fallback"];

// sorted has what stands out first, and equal ones by name.
export function sorted(list, order) {
  const value = order === "name" ? () => 0
    : order === "attention" ? (r) => (attention.includes(r.state) ? 1e9 - attention.indexOf(r.state) * 1e6 : 0) + (r.failures ?? 0) + Math.min(r.load ?? -1, 1000)
    : order === "cold" ? (r) => r.coldStart?.seconds ?? -1
    : order === "failures" ? (r) => (r.failures ?? 0) + (r.state === "failing" ? 0.5 : 0)
    : (r) => r[order] ?? -1;
  const name = (r) => `${r.namespace}/${r.name}/${r.kind}`;
  return list.map((r) => [value(r), name(r), r]).sort((a, b) => b[0] - a[0] || (a[1] < b[1] ? -1 : 1)).map((e) => e[2]);
}

export function number(n) {
  if (n === undefined || n === null) return "-";
  return Number.isInteger(n) ? n.toLocaleString("en") : n.toLocaleString("en", { maximumFractionDigits: 2 });
}

// span is a time in seconds.
export function span(s) {
  if (s === undefined || s === null) return "-";
  return s < 1 ? `${Math.round(s * 1000)} ms` : s < 10 ? `${Math.round(s * 10) / 10} s` : s < 120 ? `${Math.round(s)} s` : `${Math.round(s / 60)} min`;
}

export function percent(n) { return n === undefined || n === null ? "-" : `${Math.round(n * 100)}%`; }

export function ago(time) {
  if (!time) return "-";
  const s = Math.max(0, Math.round((Date.now() - new Date(time)) / 1000));
  return s < 60 ? `${s} s ago` : s < 3600 ? `${Math.floor(s / 60)} min ago` : s < 86400 ? `${Math.floor(s / 3600)} h ago` : `${Math.floor(s / 86400)} d ago`;
}
