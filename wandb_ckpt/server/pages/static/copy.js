// The "Copy" buttons. Without this file they stay hidden, and the lines can be selected by hand.
"use strict";

// Outside of localhost and HTTPS browsers offer no clipboard to pages; an old command still works there.
async function copy(element) {
  if (navigator.clipboard) {
    await navigator.clipboard.writeText(element.textContent);
    return;
  }
  getSelection().selectAllChildren(element);
  if (!document.execCommand("copy")) throw new Error("not allowed");
}

for (const button of document.querySelectorAll("button[data-copy]")) {
  button.hidden = false;
  button.setAttribute("aria-live", "polite");
  button.addEventListener("click", async () => {
    try {
      await copy(document.getElementById(button.dataset.copy));
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(document.getElementById(button.dataset.copy));
      button.textContent = "Press Ctrl+C";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  });
}
