// Makes the upload form send each file separately, with progress, as soon as it is chosen or dropped.
//
// The form works without this script. With it the page stays, shows the progress of each file, and fetches the gallery
// again at the end, so that only the server's template knows what a photo looks like.
//
// An upload is waiting, in progress, done or failed. If it is cancelled when the server may already have all of it, it is
// not aborted, because the script could not tell whether it was stored. It waits for the answer and deletes the photo.
"use strict";

(() => {
  const form = document.getElementById("upload");
  const input = document.getElementById("file");
  const drop = form.querySelector(".drop");
  const queue = document.getElementById("queue");
  const tools = document.getElementById("tools");
  const retryAll = document.getElementById("retry-all");
  const live = document.getElementById("live"); // the result, shown to everyone
  const alarm = document.getElementById("alarm"); // what failed, for screen readers; the row shows the same
  const login = document.getElementById("login-again");
  const template = document.getElementById("queue-item");
  const logins = new BroadcastChannel("photos-logins"); // tells the other tabs who is logged in
  const largest = Number(form.dataset.max) - 4096; // the form around the file also counts
  const SOON = 1; // seconds
  const MAY_PASS = [0, 408, 409, 425, 429]; // after these statuses, and 500 and above, a retry may succeed

  let token = form.elements.csrfmiddlewaretoken.value;
  const waiting = [];
  let current = null; // the upload in progress: a second one would only slow it down
  let deleting = 0; // uploads that were stored although they were cancelled
  let isPaused = false; // until the user has logged in again
  let stored = 0;
  let failed = 0;

  document.documentElement.classList.add("scripted");
  input.required = false;
  logins.postMessage(form.dataset.user);

  // --- Choosing and dropping files ------------------------------------------------------------------------------

  input.addEventListener("change", () => {
    accept([...input.files]);
    input.value = ""; // so that choosing the same file again fires an event
  });
  form.addEventListener("submit", (event) => event.preventDefault());

  // The whole page accepts drops. Dragging a photo of the page itself is not an upload.
  let isOwn = false;
  document.addEventListener("dragstart", () => (isOwn = true));
  document.addEventListener("dragend", () => (isOwn = false));
  document.addEventListener("dragover", (event) => {
    event.preventDefault(); // otherwise the browser opens the file instead of this page
    drop.classList.toggle("over", !isOwn);
  });
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) drop.classList.remove("over"); // the pointer has left the window
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

  // Buttons for all uploads are shown if they apply to more than one.
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
    const request = new XMLHttpRequest(); // fetch() cannot report the progress of an upload
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

  // Only if the server surely does not have all of it: browsers report the progress late.
  function breakOff(upload) {
    const seconds = (performance.now() - upload.began) / 1000;
    const left = ((upload.total - upload.loaded) * seconds) / (upload.loaded || 1); // at the current speed
    if (seconds < SOON / 4 || left < SOON) return;
    cancelled(upload);
    upload.request.abort(); // the next upload follows
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

  // Keeps the files, and says how to continue. Another tab of this site reports when the user has logged in again.
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

  // The form's token belongs to a login. After a new login in another tab this page has an old token.
  async function renew(upload) {
    upload.isSecond = true;
    const user = await currentUser();
    if (user === form.dataset.user) return send(upload);
    return pause(upload);
  }

  // Returns who is logged in now, and updates the token; empty if the page has no form.
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
    // Photos that are in the gallery leave the queue; failed ones stay until they are dismissed.
    queue.querySelectorAll(".done").forEach(remove);
  }

  // Loads the first page of the gallery, which has the new photos. Keeps the focus.
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

  // The application marks texts for people. Unmarked responses come from servers in between.
  function explanation(request) {
    try {
      const { detail, request_id: id } = JSON.parse(request.responseText);
      if (request.getResponseHeader("X-Text-For") === "people") {
        return request.status >= 500 && id ? `${detail} (request ${id})` : detail;
      }
    } catch {
      // not JSON: use the status
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
