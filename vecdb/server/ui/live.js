// Live: what is loaded again and again while it is shown.

const USUAL = 5000;
const AT_WORK = 1000;

/** Load and show, until the signal. `show` is called when something has changed, and returns
 * whether more is about to. Nothing is asked for while nobody looks, and never for more than a
 * twentieth of the time. Throws what the first load throws; what later ones throw is said in the
 * notice, and they are tried again. */
export async function keepShowing(load, show, signal) {
  const notice = document.getElementById("notice");
  let before = await load();
  let busy = show(before);
  let took = 0;
  (async () => {
    while (await pause(Math.max(busy ? AT_WORK : USUAL, 20 * took), signal)) {
      try {
        const began = performance.now();
        const now = await load();
        took = performance.now() - began;
        notice.textContent = "";
        if (JSON.stringify(now) !== JSON.stringify(before)) {
          before = now;
          busy = show(now);
        }
      } catch (error) {
        if (signal.aborted) {
          return;
        }
        notice.textContent = `${error.message} What is shown may be old.`;
      }
    }
    notice.textContent = "";
  })();
}

/** Wait, and on while the page is hidden. False: the signal came. */
async function pause(milliseconds, signal) {
  do {
    await new Promise((resolve) => {
      const timer = setTimeout(done, milliseconds);
      function done() {
        clearTimeout(timer);
        signal.removeEventListener("abort", done);
        resolve();
      }
      signal.addEventListener("abort", done);
    });
  } while (document.hidden && !signal.aborted);
  return !signal.aborted;
}
