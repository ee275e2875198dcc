// Makes the upload form send each file by itself, with progress, as soon as it is chosen or dropped.
//
// The form works without this script; with it, the page stays, shows how far each file is, and fetches the gallery
// again at the end, so the server's template stays the only place that knows what a photo looks like.
"use strict";

(() => {
  const form = document.getElementById("upload");
  const input = document.getElementById("file");
  const drop = form.querySelector(".drop");
  const queue = document.getElementById("queue");
  const live = document.getElementById("live"); // how it ended, for everybody
  const alarm = document.getElementById("alarm"); // what failed, read out at once; its row says the same
  const template = document.getElementById("queue-item");
  const largest = Number(form.dataset.max);
  const token = form.elements.csrfmiddlewaretoken.value;

  const waiting = [];
  let current = null; // the one upload under way: a second beside it would only slow the first
  let stored = 0;
  let failed = 0;

  document.documentElement.classList.add("scripted");
  input.required = false;

  input.addEventListener("change", () => {
    accept([...input.files]);
    input.value = ""; // so that choosing the same file again is a change again
  });
  form.addEventListener("submit", (event) => event.preventDefault());

  // The browser opens a file that is dropped beside the area; here it would leave the page in mid-upload.
  for (const type of ["dragover", "drop"]) {
    document.addEventListener(type, (event) => event.preventDefault());
  }
  for (const type of ["dragenter", "dragover"]) {
    drop.addEventListener(type, () => drop.classList.add("over"));
  }
  for (const type of ["dragleave", "drop"]) {
    drop.addEventListener(type, () => drop.classList.remove("over"));
  }
  drop.addEventListener("drop", (event) => accept([...event.dataTransfer.files]));

  window.addEventListener("beforeunload", (event) => {
    if (current) event.preventDefault(); // "leave the page?"
  });

  function accept(files) {
    if (!current) {
      live.textContent = "";
      stored = 0;
      failed = 0;
    }
    for (const file of files) {
      const upload = { file, row: addRow(file) };
      const refusal = reasonToRefuse(file);
      if (refusal) fail(upload, refusal);
      else waiting.push(upload);
    }
    queue.hidden = queue.children.length === 0;
    if (!current) next();
  }

  function reasonToRefuse(file) {
    if (file.size > largest) {
      return `Too large: ${megabytes(file.size)}, and ${form.dataset.maxText} is the most. Choose a smaller one.`;
    }
    if (file.size === 0) return "This file is empty. Choose another one.";
    return "";
  }

  function addRow(file) {
    const row = template.content.cloneNode(true).firstElementChild;
    row.querySelector(".name").textContent = file.name;
    row.querySelector(".state").textContent = "Waiting";
    row.querySelector("progress").setAttribute("aria-label", `Progress of ${file.name}`);
    row.querySelector(".cancel").setAttribute("aria-label", `Cancel ${file.name}`);
    const preview = row.querySelector(".preview");
    preview.src = URL.createObjectURL(file);
    preview.onload = () => URL.revokeObjectURL(preview.src);
    preview.onerror = () => {
      URL.revokeObjectURL(preview.src);
      const blank = document.createElement("span");
      blank.className = "preview";
      preview.replaceWith(blank);
    };
    queue.append(row);
    row.querySelector(".cancel").addEventListener("click", () => cancel(row));
    return row;
  }

  function next() {
    current = waiting.shift() || null;
    if (!current) return finish();
    const { file, row } = current;
    const body = new FormData();
    body.append("file", file);
    const request = new XMLHttpRequest(); // fetch() cannot tell how far an upload is
    current.request = request;
    request.open("POST", form.dataset.api);
    request.setRequestHeader("X-CSRFToken", token);
    request.upload.addEventListener("progress", (event) => {
      if (!event.lengthComputable) return;
      const share = event.loaded / event.total;
      row.querySelector("progress").value = share;
      say(row, share < 1 ? `${Math.floor(share * 100)} %` : "Checking the picture");
    });
    request.addEventListener("load", () => settle(request));
    request.addEventListener("error", () => {
      fail(current, "The connection broke. Check that you are online, and send the file again.");
      next();
    });
    request.addEventListener("abort", next);
    say(row, "0 %");
    request.send(body);
  }

  function settle(request) {
    if (request.status === 201) succeed(current, JSON.parse(request.responseText)[0]);
    else fail(current, explanation(request));
    next();
  }

  function succeed({ row }, photo) {
    stored += 1;
    row.classList.add("done");
    say(row, photo.name === row.querySelector(".name").textContent ? "Stored" : `Stored as ${photo.name}`);
    row.querySelector(".cancel").remove();
  }

  function fail({ file, row }, reason) {
    failed += 1;
    row.classList.add("failed");
    say(row, reason);
    const button = row.querySelector(".cancel");
    button.textContent = "Dismiss";
    button.setAttribute("aria-label", `Dismiss ${file.name}`);
    alarm.textContent = `${file.name}: ${reason}`;
  }

  function cancel(row) {
    const place = waiting.findIndex((upload) => upload.row === row);
    if (place >= 0) waiting.splice(place, 1);
    row.remove();
    queue.hidden = queue.children.length === 0;
    input.focus();
    if (current && current.row === row) current.request.abort();
  }

  async function finish() {
    if (!stored) return;
    const sum = `${stored} ${stored === 1 ? "photo" : "photos"} stored` + (failed ? `, ${failed} not` : "");
    const isShown = await refresh();
    live.textContent = isShown ? `${sum}.` : `${sum}. Reload the page to see the new ones.`;
    if (!isShown || current) return;
    // What is in the gallery now need not stay in the queue; what failed stays until it is dismissed.
    queue.querySelectorAll(".done").forEach((row) => row.remove());
    queue.hidden = queue.children.length === 0;
  }

  // The first page of the gallery, as the server renders it.
  async function refresh() {
    try {
      const response = await fetch(form.action, { credentials: "same-origin" });
      const page = new DOMParser().parseFromString(await response.text(), "text/html");
      document.getElementById("gallery").replaceWith(page.getElementById("gallery"));
      return true;
    } catch {
      return false;
    }
  }

  // Errors come as JSON from Django and from nginx alike; a proxy in between may answer with anything.
  function explanation(request) {
    if (request.status === 401) return "Your login has ended. Reload the page, log in, and send the file again.";
    try {
      const { detail, request_id: id } = JSON.parse(request.responseText);
      return request.status >= 500 && id ? `${detail} (request ${id})` : detail;
    } catch {
      if (request.status === 413) return `Too large for a server on the way. ${form.dataset.maxText} is our limit.`;
      return `The server answered ${request.status}. Try again in a moment.`;
    }
  }

  function say(row, text) {
    row.querySelector(".state").textContent = text;
  }

  function megabytes(bytes) {
    return `${(bytes / 1024 / 1024).toFixed(1)} MB`;
  }
})();
