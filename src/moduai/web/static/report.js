// The dialog to report an answer. `describe` says which one; `say` tells screen readers.

export function reporting(dialog, token, words, say) {
  const form = dialog.querySelector("form");
  const trouble = dialog.querySelector(".notice");
  let what = null;
  let from = null;

  function close() {
    dialog.close();
    form.reset();
    trouble.hidden = true;
    from?.focus();
  }

  form.addEventListener("reset", () => dialog.open && setTimeout(() => dialog.open && close()));

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const { reason, remark } = Object.fromEntries(new FormData(form));
    const body = JSON.stringify({ ...what, token, reason, remark });
    let message = words.failed;
    try {
      const answer = await fetch("/report", { method: "POST", headers: { "content-type": "application/json" }, body });
      message = (await answer.json()).message;
    } catch {
      // the general words stay
    }
    if (message) {
      trouble.hidden = false;
      trouble.textContent = message;
      return;
    }
    from.querySelector("span").textContent = words.reported;
    close();
    say(words.reported);
  });

  return (button, described) => {
    what = described;
    from = button;
    dialog.showModal();
  };
}
