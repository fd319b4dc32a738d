// Deleting a conversation: it is sent some seconds later, so that it can be taken back.
// A form says with data-undo what to do at once: hide its "row", or "leave" to the list, which hides it there.

const SECONDS = 8;
const LEAVING = "modu-deleting";

export function deletions(words, say) {
  let pending = null;

  function send(form, last) {
    const fields = new URLSearchParams(new FormData(form));
    fields.set("id", form.querySelector("[name=id]").value);
    fields.set("sure", "1");
    return fetch("/history/delete", { method: "POST", body: fields, keepalive: last });
  }

  function begin(form) {
    finish();
    const row = form.closest("li");
    const next = row.nextElementSibling ?? row.previousElementSibling;
    row.hidden = true;
    const toast = document.createElement("p");
    toast.className = "toast";
    toast.append(words.deleted);
    const button = document.createElement("button");
    button.type = "button";
    button.className = "quiet";
    button.textContent = words.undo;
    toast.append(button);
    document.querySelector("main").append(toast);
    say(words.deleted);
    button.focus();
    const mine = { form, row, next, toast, timer: 0 };
    // whoever points at it or has it in focus by keyboard gets the whole time again
    const wait = () => {
      clearTimeout(mine.timer);
      mine.timer = setTimeout(() => pending === mine && finish(), SECONDS * 1000);
    };
    ["pointermove", "keydown"].forEach((kind) => toast.addEventListener(kind, wait));
    button.addEventListener("click", () => {
      clear(mine);
      row.hidden = false;
      row.querySelector("a").focus();
      say(words.kept);
    });
    pending = mine;
    wait();
  }

  function clear(mine) {
    clearTimeout(mine.timer);
    if (pending === mine) pending = null;
    const focused = mine.toast.contains(document.activeElement);
    mine.toast.remove();
    return focused;
  }

  async function finish(last = false) {
    const mine = pending;
    if (!mine) return;
    const focused = clear(mine);
    if (focused && !last) (mine.next?.querySelector("a") ?? document.getElementById("main")).focus();
    let done = false;
    try {
      done = (await send(mine.form, last)).ok;
    } catch {
      // told below
    }
    if (done) mine.row.remove();
    else {
      mine.row.hidden = false;
      say(words.failed);
    }
  }

  document.addEventListener("submit", (event) => {
    const how = event.target.dataset.undo;
    if (!how) return;
    event.preventDefault();
    if (how === "row") return begin(event.target);
    sessionStorage.setItem(LEAVING, event.target.querySelector("[name=id]").value);
    location.href = "/history";
  });
  addEventListener("pagehide", () => finish(true));

  const left = sessionStorage.getItem(LEAVING);
  if (!left) return;
  sessionStorage.removeItem(LEAVING);
  const button = document.querySelector(`[data-undo=row] [value="${CSS.escape(left)}"]`);
  if (button) begin(button.form);
}
