// Streams of lines of JSON, each {event, data}, for as long as the page is seen.
//
// The token comes with the address, after #, and goes with each request in a header:
// no other page, and nobody else who listens at this machine, gets it from the browser.
const kept = "sluice-token";

// own takes the token out of the address.
export function own() {
  const given = location.hash.match(/^#token=([A-Z0-9]+)$/);
  if (!given) return;
  localStorage.setItem(kept, given[1]);
  history.replaceState(null, "", "#/");
}

const pause = (ms) => new Promise((done) => setTimeout(done, ms));

async function read(path, signal, each) {
  const response = await fetch(path, { signal, cache: "no-store", headers: { Authorization: `Bearer ${localStorage.getItem(kept)}` } });
  if (!response.ok) throw Object.assign(new Error((await response.text()).trim()), { final: response.status === 401 || response.status === 400 });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let parts = []; ;) {
    const { value, done } = await reader.read();
    if (done) return;
    const lines = value.split("\n");
    while (lines.length > 1) {
      parts.push(lines.shift());
      const { event, data } = JSON.parse(parts.join(""));
      parts = [];
      each(event, data);
    }
    parts.push(lines[0]);
  }
}

// follow hears a stream until what it returns is called, and begins anew where it
// ends. A browser has six connections to a server: a page that is not seen takes none.
export function follow(path, each, lost) {
  let end = null;
  async function hear() {
    if (end || document.hidden) return;
    const mine = end = new AbortController();
    while (!mine.signal.aborted) {
      try {
        await read(path, mine.signal, each);
        if (!mine.signal.aborted) lost("the connection ended: is kubectl sluice ui still running?");
      } catch (error) {
        if (mine.signal.aborted) return;
        lost(error instanceof TypeError ? "not connected: is kubectl sluice ui still running?" : error.message);
        if (error.final) return;
      }
      await pause(1000);
    }
  }
  function seen() {
    if (document.hidden) { end?.abort(); end = null; } else hear();
  }
  document.addEventListener("visibilitychange", seen);
  hear();
  return () => { document.removeEventListener("visibilitychange", seen); end?.abort(); };
}
