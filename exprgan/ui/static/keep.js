// Photos from anywhere (drop, paste), and what survives a lost connection: the photo in this browser, while the tab is open.

const STORE = 'photo', TAB_KEY = 'exprgan-tab', SETTINGS_KEY = 'exprgan-settings';
const kept = name => { try { return window.sessionStorage.getItem(name); } catch { return null; } };
const keep = (name, value) => { try { value === null ? window.sessionStorage.removeItem(name) : window.sessionStorage.setItem(name, value); } catch { /* no storage */ } };
const database = action => new Promise((done, failed) => {
  const request = window.indexedDB.open('exprgan', 1);
  request.onupgradeneeded = () => request.result.createObjectStore(STORE);
  request.onerror = () => failed(request.error);
  request.onsuccess = () => {
    const transaction = request.result.transaction(STORE, 'readwrite'), answer = action(transaction.objectStore(STORE));
    transaction.oncomplete = () => { request.result.close(); done(answer?.result); };
    transaction.onerror = () => failed(transaction.error);
  };
}).catch(() => undefined);

exprgan.remember = settings => keep(SETTINGS_KEY, JSON.stringify(settings));
let keptSize = null;
exprgan.keepPhoto = file => {
  keep(TAB_KEY, 'open');
  keptSize = file.size;
  database(store => store.put({file, time: Date.now()}, STORE));
  drawForget(true);
};
const drop = () => {
  [TAB_KEY, SETTINGS_KEY].forEach(name => keep(name, null));
  keptSize = null;
  database(store => store.clear());
  drawForget(false);
};
// The photo that is edited is the one that is kept, wherever it came from: an example, the camera, an earlier result. A file
// that was chosen is kept already. `isShown` says whether it is still edited.
exprgan.photoShown = async (photo, isShown) => {
  if (!photo) return drop();
  const answer = await fetch(photo.url).catch(() => null);
  if (answer?.ok && Number(answer.headers.get('content-length')) === keptSize) return answer.body.cancel();
  const picture = answer?.ok ? await answer.blob().catch(() => null) : null;
  if (!isShown()) return;
  if (picture) exprgan.keepPhoto(new File([picture], photo.orig_name ?? 'photo', {type: picture.type}));
  else drop();
};
exprgan.forget = () => {
  drop();
  exprgan.forgetVisit();
  document.querySelector('#edit-forget').click();
};
const drawForget = on => {
  const place = document.querySelector('.bench:has(.strip) .privacy');
  if (!place) return;
  place.querySelector('.forget')?.remove();
  if (!on) return;
  const button = Object.assign(document.createElement('button'), {type: 'button', className: 'forget', textContent: 'Forget this photo'});
  button.addEventListener('click', exprgan.forget);
  place.append(button);
};
// After a reload of this tab its photo is opened again. A new tab finds nothing: what an earlier one left is deleted.
const HOUR_MS = 3600_000;
exprgan.restore = async () => {
  if (kept(TAB_KEY) !== 'open') return database(store => store.clear());
  const entry = await database(store => store.get(STORE));
  if (!entry || Date.now() - entry.time > HOUR_MS) return drop();
  exprgan.restoring = true;
  const settings = JSON.parse(kept(SETTINGS_KEY) ?? 'null');
  const place = await until(() => document.querySelector('.bench:has(.strip) .photo'));
  if (await until(() => place.querySelector('input[type=file]'))) feed(place, entry.file);
  exprgan.openWith(settings);
};
const until = async (find, tries = 100) => {
  for (let i = 0; i < tries; i++) {
    const found = find();
    if (found) return found;
    await new Promise(done => setTimeout(done, 50));
  }
  return null;
};

const isPicture = file => file && (file.type.startsWith('image/') || /\.(jpe?g|png|webp|heic|avif|tiff?|bmp|gif)$/i.test(file.name));
const feed = (place, file) => {
  const input = place?.querySelector('input[type=file]');
  if (!input) return false;
  const data = new DataTransfer();
  data.items.add(file);
  input.files = data.files;
  input.dispatchEvent(new Event('change', {bubbles: true}));
  return true;
};
const places = () => [...document.querySelectorAll('.photo')].filter(place => place.checkVisibility());
const bestPlace = target => target?.closest?.('.photo') ?? places().find(place => !place.querySelector('img')) ?? places()[0];
document.addEventListener('change', event => {
  const file = event.target.matches?.('.bench:has(.strip) .photo input[type=file]') && event.target.files[0];
  if (!isPicture(file)) return;
  exprgan.openWith(null); // settings of another photo that was to be opened
  exprgan.keepPhoto(file);
}, true);
document.addEventListener('paste', event => {
  const file = [...(event.clipboardData?.files ?? [])].find(isPicture);
  if (file && feed(bestPlace(), file)) event.preventDefault();
});
exprgan.choosePhoto = () => bestPlace()?.querySelector('input[type=file]')?.click();
const hasFiles = event => [...(event.dataTransfer?.types ?? [])].includes('Files');
// While a file is dragged its type is known and its name is not; it has no type where the system does not know it.
const mayBePicture = event => {
  const items = [...(event.dataTransfer?.items ?? [])].filter(item => item.kind === 'file');
  return !items.length || items.some(item => !item.type || item.type.startsWith('image/'));
};
document.addEventListener('dragover', event => {
  if (!hasFiles(event)) return;
  event.preventDefault();
  if (places().length && mayBePicture(event)) document.body.classList.add('dropping');
}, true);
['dragleave', 'dragend', 'drop'].forEach(name => document.addEventListener(name, event => {
  if (name !== 'dragleave' || !event.relatedTarget) document.body.classList.remove('dropping');
}, true));
document.addEventListener('drop', event => {
  const file = hasFiles(event) && [...event.dataTransfer.files].find(isPicture);
  if (!file) return;
  event.preventDefault(); // the browser would open it in place of the page
  if (!places().length) return;
  event.stopPropagation();
  feed(bestPlace(event.target), file);
}, true);

// A server that was started again knows nothing of this page: it is noticed at the next action, and the page loads itself again.
let checked = 0, waiting = false;
const server = async () => {
  const root = (window.gradio_config?.root ?? window.location.origin + window.location.pathname).replace(/\/$/, '');
  const answer = await fetch(`${root}/gradio_api/app_id`, {cache: 'no-store', signal: AbortSignal.timeout(4000)});
  if (!answer.ok) throw new Error(String(answer.status));
  return (await answer.json()).app_id;
};
exprgan.check = async () => {
  if (waiting || Date.now() - checked < 2000) return;
  checked = Date.now();
  const known = window.gradio_config?.app_id;
  try {
    if (await server() === known) return;
  } catch (error) {
    if (error.name === 'TimeoutError' && navigator.onLine) return; // busy, not away
  }
  waiting = true;
  const note = Object.assign(document.createElement('div'), {className: 'reconnecting', textContent: 'The connection was lost. Your photo and settings are kept; the page connects again…'});
  note.setAttribute('role', 'status');
  document.body.append(note);
  for (;;) {
    try {
      if (await server() !== known) return window.location.reload();
      break;
    } catch { await new Promise(done => setTimeout(done, 700)); }
  }
  note.remove();
  waiting = false;
};
['pointerdown', 'keydown', 'focus'].forEach(name => window.addEventListener(name, exprgan.check, {capture: true, passive: true}));
exprgan.address = () => window.location.search;
