// For pages that show photos; they work without it. Escape or a click elsewhere closes an open confirmation. On the page
// of one photo the arrow keys go to the next photo, and Escape to the gallery.
"use strict";

(() => {
  const opened = () => document.querySelector("details.confirm[open]");

  document.addEventListener("click", (event) => {
    const confirmation = opened();
    if (confirmation && !confirmation.contains(event.target)) confirmation.open = false;
  });
  // One at a time: with the keyboard, a second one opens without a click elsewhere. The event does not bubble.
  document.addEventListener(
    "toggle",
    ({ target }) => {
      if (!target.open) return;
      for (const other of document.querySelectorAll("details.confirm[open]")) other.open = other === target;
    },
    true,
  );

  document.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
    if (event.key === "Escape" && opened()) close(opened());
    else follow({ ArrowLeft: "a.step[rel=prev]", ArrowRight: "a.step[rel=next]", Escape: "#back" }[event.key]);
  });

  function close(confirmation) {
    const hadFocus = confirmation.contains(document.activeElement);
    confirmation.open = false;
    if (hadFocus) confirmation.querySelector("summary").focus();
  }

  // If the page has this link.
  function follow(link) {
    if (link) document.querySelector(link)?.click();
  }
})();
