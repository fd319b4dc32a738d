// The pages of this moment stay as it is now: every two seconds their figures are fetched and put in.
// Without this file they are loaded again by their link.

const EVERY = 2000;
const live = document.getElementById("live");
const button = document.getElementById("pause");
const state = document.getElementById("state");
let paused = false;
let timer;

async function refresh() {
  if (paused || document.hidden) return;
  try {
    const response = await fetch(`${location.pathname}?part=live`, { cache: "no-store", redirect: "error" });
    if (!response.ok) throw new Error(response.status);
    put(await response.text());
    state.textContent = "";
  } catch {
    // said once, not every two seconds
    if (state.textContent !== button.dataset.lost) state.textContent = button.dataset.lost;
  }
  plan();
}

// Whoever stands on a link or has scrolled a table stays there.
function put(html) {
  if (paused) return;
  const focused = live.contains(document.activeElement) ? document.activeElement : null;
  const at = focused && [...live.querySelectorAll("a, [tabindex]")].indexOf(focused);
  const scrolled = [...live.querySelectorAll(".scroll")].map((box) => box.scrollLeft);
  live.innerHTML = html; // made and escaped by our own server
  live.querySelectorAll(".scroll").forEach((box, index) => (box.scrollLeft = scrolled[index] ?? 0));
  if (focused) live.querySelectorAll("a, [tabindex]")[at]?.focus({ preventScroll: true });
}

function plan() {
  clearTimeout(timer);
  if (!paused && !document.hidden) timer = setTimeout(refresh, EVERY);
}

button.hidden = false;
button.addEventListener("click", () => {
  paused = !paused;
  button.textContent = paused ? button.dataset.go : button.dataset.pause;
  if (paused) clearTimeout(timer);
  else refresh();
});
document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : refresh()));
plan();
