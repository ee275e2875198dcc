// Makes the upload form send each file by itself, with progress, as soon as it is chosen or dropped.
//
// The form works without this script; with it, the page stays, shows how far each file is, and fetches the gallery
// again at the end, so the server's template stays the only place that knows what a photo looks like.
//
// An upload is waiting, under way, done or failed. One that is cancelled when the server may have all of it already is
// not broken off: nobody could tell whether it was stored. Its answer is awaited, and what it stored is deleted.
"use strict";

(() => {
  const form = document.getElementById("upload");
  const input = document.getElementById("file");
  const drop = form.querySelector(".drop");
  const queue = document.getElementById("queue");
  const tools = document.getElementById("tools");
  const retryAll = document.getElementById("retry-all");
  const live = document.getElementById("live"); // how it ended, for everybody
  const alarm = document.getElementById("alarm"); // what failed, read out at once; its row says the same
  const login = document.getElementById("login-again");
  const template = document.getElementById("queue-item");
  const logins = new BroadcastChannel("photos-logins"); // tells the other tabs that somebody is logged in
  const largest = Number(form.dataset.max) - 4096; // the form around the file counts, too
  const SOON = 1; // seconds
  const MAY_PASS = [0, 408, 409, 425, 429]; // statuses after which the same file may be taken; and 500 and above

  let token = form.elements.csrfmiddlewaretoken.value;
  const waiting = [];
  let current = null; // the one upload under way: a second beside it would only slow the first
  let deleting = 0; // what was stored, although it was cancelled
  let isPaused = false; // until there is a login again
  let stored = 0;
  let failed = 0;

  document.documentElement.classList.add("scripted");
  input.required = false;
  logins.postMessage(form.dataset.user);

  // --- What is chosen and dropped ------------------------------------------------------------------------------

  input.addEventListener("change", () => {
    accept([...input.files]);
    input.value = ""; // so that choosing the same file again is a change again
  });
  form.addEventListener("submit", (event) => event.preventDefault());

  // The whole page takes drops. A photo of the page itself that is dragged is not an upload.
  let isOwn = false;
  document.addEventListener("dragstart", () => (isOwn = true));
  document.addEventListener("dragend", () => (isOwn = false));
  document.addEventListener("dragover", (event) => {
    event.preventDefault(); // or the browser opens the file, in the place of this page
    drop.classList.toggle("over", !isOwn);
  });
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) drop.classList.remove("over"); // it has left the window
  });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    if (!isOwn) acceptDropped(event.dataTransfer);
  });

  function acceptDropped(data) {
    const items = [...data.items].filter((item) => item.kind === "file");
    const isFolder = (item) => item.webkitGetAsEntry()?.isDirectory;
    const folders = items.filter(isFolder).map((item) => item.webkitGetAsEntry().name);
    const files = items.filter((item) => !isFolder(item)).map((item) => item.getAsFile());
    accept(files.filter(Boolean));
    for (const name of folders) refuse({ name }, "This is a folder. Open it and drop the photos inside it.");
    if (!items.length) {
      refuse({ name: "What you dropped" }, "This is not a file. Save the photo on this device and drop it from there.");
    }
  }

  window.addEventListener("beforeunload", (event) => {
    if (current || waiting.length || deleting) event.preventDefault(); // "leave the page?"
  });

  function accept(files) {
    if (!files.length) return;
    if (!current && !isPaused) startCounting();
    for (const file of files) {
      const refusal = reasonToRefuse(file);
      if (refusal) refuse(file, refusal);
      else waiting.push({ file, row: addRow(file) });
    }
    arrange();
    if (!current) next();
  }

  function startCounting() {
    live.textContent = "";
    stored = 0;
    failed = 0;
  }

  function reasonToRefuse(file) {
    if (file.size > largest) {
      return `Too large: ${megabytes(file.size)}; the limit is ${form.dataset.maxText}. Choose a smaller file.`;
    }
    if (file.size === 0) return "This file is empty. Choose another file.";
    return "";
  }

  function refuse(file, reason) {
    fail({ file, row: addRow(file) }, reason, false);
  }

  // --- Rows ----------------------------------------------------------------------------------------------------

  function addRow(file) {
    const row = template.content.cloneNode(true).firstElementChild;
    row.querySelector(".name").textContent = file.name;
    row.querySelector(".name").title = file.name;
    row.querySelector("progress").setAttribute("aria-label", `Progress of ${file.name}`);
    row.querySelector(".retry").setAttribute("aria-label", `Try again: ${file.name}`);
    label(row, "Cancel", file);
    say(row, "Waiting");
    preview(row.querySelector(".preview img"), file);
    queue.append(row);
    return row;
  }

  function preview(image, file) {
    if (!(file instanceof Blob)) return image.remove();
    image.src = URL.createObjectURL(file);
    image.onload = () => URL.revokeObjectURL(image.src);
    image.onerror = () => {
      URL.revokeObjectURL(image.src);
      image.remove();
    };
  }

  function label(row, text, file) {
    const button = row.querySelector(".cancel");
    button.textContent = text;
    button.setAttribute("aria-label", `${text}: ${file.name}`);
  }

  queue.addEventListener("click", ({ target }) => {
    const row = target.closest("li");
    if (target.closest(".retry")) retry([row]);
    else if (target.closest(".cancel")) cancel(row);
  });
  retryAll.addEventListener("click", () => retry(retriable()));
  document.getElementById("dismiss-all").addEventListener("click", () => {
    queue.querySelectorAll(".failed, .done").forEach((row) => row.remove());
    arrange();
    (queue.querySelector("button") || input).focus();
  });

  function retriable() {
    return [...queue.querySelectorAll(".failed")].filter((row) => row.upload);
  }

  // What is offered for all of them, when there is more than one to offer it for.
  function arrange() {
    queue.hidden = queue.children.length === 0;
    retryAll.hidden = retriable().length < 2;
    tools.hidden = queue.querySelectorAll(".failed, .done").length < 2;
  }

  function retry(rows) {
    if (!current && !isPaused) startCounting();
    for (const row of rows) {
      waiting.push({ file: row.upload.file, row });
      row.upload = null;
      row.classList.remove("failed");
      row.querySelector(".retry").hidden = true;
      row.querySelector("progress").value = 0;
      label(row, "Cancel", waiting.at(-1).file);
      say(row, "Waiting");
    }
    rows[0].querySelector(".cancel").focus();
    arrange();
    if (!current) next();
  }

  function remove(row) {
    const hadFocus = row.contains(document.activeElement);
    const near = row.nextElementSibling || row.previousElementSibling;
    row.remove();
    if (hadFocus) (near?.querySelector("button:not([hidden])") || input).focus();
    arrange();
  }

  // --- One upload ----------------------------------------------------------------------------------------------

  function next() {
    if (isPaused) return;
    current = waiting.shift() || null;
    if (!current) return finish();
    send(current);
  }

  function send(upload) {
    const body = new FormData();
    body.append("file", upload.file);
    const request = new XMLHttpRequest(); // fetch() cannot tell how far an upload is
    Object.assign(upload, { request, began: performance.now(), loaded: 0, total: upload.file.size, isCancelled: false });
    request.open("POST", form.dataset.api);
    request.setRequestHeader("X-CSRFToken", token);
    request.upload.addEventListener("progress", (event) => progress(upload, event));
    request.addEventListener("load", () => settle(upload));
    request.addEventListener("error", () => broken(upload));
    request.addEventListener("abort", next);
    say(upload.row, "0 %");
    request.send(body);
  }

  function progress(upload, { loaded, total }) {
    Object.assign(upload, { loaded, total });
    const share = total ? loaded / total : 0;
    upload.row.querySelector("progress").value = share;
    if (upload.isCancelled) breakOff(upload);
    else say(upload.row, share < 1 ? `${Math.floor(share * 100)} %` : "Checking the picture");
  }

  function broken(upload) {
    const mayBeThere = upload.loaded >= upload.total;
    if (upload.isCancelled && !mayBeThere) cancelled(upload);
    else if (mayBeThere) {
      fail(upload, "The connection was lost before the answer arrived. Check in the gallery whether the photo was stored.");
      refresh();
    } else fail(upload, "The connection was lost. Check that you are online and try again.");
    next();
  }

  async function settle(upload) {
    const { request } = upload;
    if (request.status === 201) {
      const [photo] = JSON.parse(request.responseText);
      if (upload.isCancelled) takeAway(upload, photo);
      else succeed(upload, photo);
    } else if (upload.isCancelled) cancelled(upload);
    else if (request.status === 401) return pause(upload);
    else if (request.status === 403 && !upload.isSecond) return renew(upload);
    else fail(upload, explanation(request), MAY_PASS.includes(request.status) || request.status >= 500);
    next();
  }

  function succeed({ row, file }, photo) {
    stored += 1;
    row.classList.add("done");
    say(row, photo.name === file.name ? "Stored" : `Stored as ${photo.name}`);
    const hadFocus = row.contains(document.activeElement);
    label(row, "Dismiss", file);
    if (hadFocus) row.querySelector(".cancel").focus();
    arrange();
  }

  function fail({ file, row }, reason, mayPass = true) {
    failed += 1;
    row.upload = mayPass ? { file } : null;
    row.classList.add("failed");
    row.querySelector(".retry").hidden = !mayPass;
    row.querySelector(".cancel").disabled = false;
    say(row, reason);
    label(row, "Dismiss", file);
    alarm.textContent = `${file.name}: ${reason}`;
    arrange();
  }

  // --- Cancelling ----------------------------------------------------------------------------------------------

  function cancel(row) {
    if (current?.row === row) {
      current.isCancelled = true;
      say(row, "Cancelling");
      row.querySelector(".cancel").disabled = true;
      return breakOff(current);
    }
    const place = waiting.findIndex((upload) => upload.row === row);
    if (place >= 0) waiting.splice(place, 1);
    remove(row);
    if (isPaused && !waiting.length) goOn();
  }

  // Only what is surely not all with the server: the browser tells late how far an upload is.
  function breakOff(upload) {
    const seconds = (performance.now() - upload.began) / 1000;
    const left = ((upload.total - upload.loaded) * seconds) / (upload.loaded || 1); // at the speed so far
    if (seconds < SOON / 4 || left < SOON) return;
    cancelled(upload);
    upload.request.abort(); // and then the next one
  }

  function cancelled({ file, row }) {
    live.textContent = `Cancelled ${file.name}. Nothing was stored.`;
    remove(row);
  }

  async function takeAway(upload, photo) {
    deleting += 1;
    try {
      const response = await fetch(form.dataset.api + encodeURIComponent(photo.name), {
        method: "DELETE",
        headers: { "X-CSRFToken": token, "If-Match": `"${photo.sha256}"` },
      });
      if (!response.ok && response.status !== 404) throw new Error(response.status);
      live.textContent = `Cancelled ${upload.file.name}. It was already stored, and has been deleted.`;
      remove(upload.row);
    } catch {
      fail(upload, `It was stored as ${photo.name} before you cancelled. Delete it in the gallery.`, false);
      refresh();
    }
    deleting -= 1;
  }

  // --- The login -----------------------------------------------------------------------------------------------

  // Keeps the files, and says how to go on. Another tab of this site says so when there is a login again.
  function pause(upload) {
    waiting.unshift(upload);
    for (const { row } of waiting) say(row, "Waiting for you to log in");
    current = null;
    isPaused = true;
    ask("Your login has ended. Log in in the new tab that the button opens. The upload then continues on its own.");
  }

  function ask(question) {
    login.querySelector("p").textContent = question;
    login.hidden = false;
  }

  logins.addEventListener("message", resume);
  window.addEventListener("focus", resume);
  login.querySelector("button").addEventListener("click", () => resume({ type: "click" }));

  async function resume({ type }) {
    if (!isPaused) return;
    const user = await currentUser();
    if (!user) return type === "click" && ask("You are not logged in yet. Log in in the new tab, then continue here.");
    if (user !== form.dataset.user && type !== "click") {
      return ask(`You are now logged in as ${user}. Press "Continue" to store these photos as ${user}.`);
    }
    form.dataset.user = user;
    if (isPaused) goOn();
  }

  function goOn() {
    isPaused = false;
    if (login.contains(document.activeElement)) (queue.querySelector("button") || input).focus();
    login.hidden = true;
    next();
  }

  // The form's token belongs to a login. After another one in another tab the page has an old one.
  async function renew(upload) {
    upload.isSecond = true;
    const user = await currentUser();
    if (user === form.dataset.user) return send(upload);
    return pause(upload);
  }

  // Who is logged in now, and with which token; nobody when there is no form.
  async function currentUser() {
    try {
      const now = (await fetched()).getElementById("upload");
      token = now?.elements.csrfmiddlewaretoken.value || token;
      return now?.dataset.user || "";
    } catch {
      return "";
    }
  }

  // --- The end -------------------------------------------------------------------------------------------------

  async function finish() {
    if (!stored) return;
    const sum = `Stored ${stored} ${stored === 1 ? "photo" : "photos"}` + (failed ? `, ${failed} failed` : "");
    const isShown = await refresh();
    live.textContent = isShown ? `${sum}.` : `${sum}. Reload the page to see the new photos.`;
    if (!isShown || current) return;
    // What is in the gallery now need not stay in the queue; what failed stays until it is dismissed.
    queue.querySelectorAll(".done").forEach(remove);
  }

  // The first page of the gallery, where the new photos are, as the server renders it. What had the focus keeps it.
  async function refresh() {
    try {
      const gallery = (await fetched()).getElementById("gallery");
      const old = document.getElementById("gallery");
      const focused = old.contains(document.activeElement) && document.activeElement;
      old.replaceWith(gallery);
      if (focused) again(gallery, focused)?.focus();
      history.replaceState(null, "", form.action);
      return true;
    } catch {
      return false;
    }
  }

  function again(gallery, focused) {
    const isSame = (element) => element.outerHTML === focused.outerHTML;
    return [...gallery.querySelectorAll(focused.localName)].find(isSame);
  }

  async function fetched() {
    const response = await fetch(form.action, { credentials: "same-origin" });
    return new DOMParser().parseFromString(await response.text(), "text/html");
  }

  // The application marks what is meant for people. What is not marked comes from servers on the way.
  function explanation(request) {
    try {
      const { detail, request_id: id } = JSON.parse(request.responseText);
      if (request.getResponseHeader("X-Text-For") === "people") {
        return request.status >= 500 && id ? `${detail} (request ${id})` : detail;
      }
    } catch {
      // no JSON: then by its status, too
    }
    if (request.status === 413) return `Too large for the server; the limit is ${form.dataset.maxText}. Choose a smaller file.`;
    if (request.status === 429) return "The server is receiving too many requests. Try again in a minute.";
    if (request.status === 507) return "The server's disk is full. Nothing was stored. Try again later.";
    return `The server did not accept the file (status ${request.status}). Try again in a moment.`;
  }

  function say(row, text) {
    row.querySelector(".state").textContent = text;
  }

  function megabytes(bytes) {
    return `${(bytes / 1024 / 1024).toFixed(1)} MB`;
  }
})();
