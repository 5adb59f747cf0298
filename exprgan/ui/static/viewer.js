// The viewer of a result: the photo before and after lie on top of each other in `canvas`, which is placed in `frame`.

exprgan.viewer = (element, props, watch) => {
  const find = selector => element.querySelector(selector);
  const viewer = find('.viewer'), frame = find('.frame'), canvas = find('.canvas'), divider = find('.cut');
  const before = find('.before'), after = find('.after'), marks = find('.marks'), chips = find('.chips');
  const tab = viewer.dataset.tab;
  let state = null, zoom = 1, x = 0, y = 0, split = null, held = false, mode = 'fit', introduced = tab !== 'Edit';
  let width = 1, height = 1;

  // Placement: `zoom` is relative to the size at which the whole picture fits; x and y are the canvas's corner in the frame.
  const fitted = () => Math.min(frame.clientWidth / width, frame.clientHeight / height) || 1;
  const limit = (value, low, high) => Math.min(Math.max(value, low), high);
  const place = () => {
    const scale = fitted() * zoom, [w, h] = [width * scale, height * scale];
    x = w <= frame.clientWidth ? (frame.clientWidth - w) / 2 : limit(x, frame.clientWidth - w, 0);
    y = h <= frame.clientHeight ? (frame.clientHeight - h) / 2 : limit(y, frame.clientHeight - h, 0);
    Object.assign(canvas.style, {width: `${w}px`, height: `${h}px`, transform: `translate(${x}px, ${y}px)`});
    frame.classList.toggle('zoomed', zoom > 1.001);
    if (split !== null) divider.style.left = `${limit(x + split * w, 0, frame.clientWidth)}px`;
    after.style.clipPath = split === null ? '' : `inset(0 0 0 ${100 * split}%)`;
    divider.setAttribute('aria-valuenow', Math.round(100 * (split ?? 0)));
  };
  const zoomTo = (value, fx = 0.5, fy = 0.5) => { // keeps a point of the frame, in its widths and heights, in its place
    const scale = fitted(), at = [(fx * frame.clientWidth - x) / zoom, (fy * frame.clientHeight - y) / zoom];
    zoom = limit(value, 1, Math.max(4, 4 / scale));
    [x, y] = [fx * frame.clientWidth - at[0] * zoom, fy * frame.clientHeight - at[1] * zoom];
    place();
  };
  const box = () => state?.boxes?.[state.face - 1];
  const show = (name, animate = true) => {
    mode = name;
    canvas.classList.toggle('smooth', animate);
    const face = box(), scale = fitted();
    if (name === 'face' && face) {
      const [w, h] = [(face[2] - face[0]) * width, (face[3] - face[1]) * height];
      zoom = limit(Math.min(frame.clientWidth / w, frame.clientHeight / h) / scale / 1.5, 1, 16);
      x = frame.clientWidth / 2 - (face[0] + face[2]) / 2 * width * scale * zoom;
      y = frame.clientHeight / 2 - (face[1] + face[3]) / 2 * height * scale * zoom;
      place();
    } else if (name === 'actual') {
      const centre = face ? [(face[0] + face[2]) / 2, (face[1] + face[3]) / 2] : [0.5, 0.5];
      zoom = Math.max(1, 1 / scale);
      x = frame.clientWidth / 2 - centre[0] * width * scale * zoom;
      y = frame.clientHeight / 2 - centre[1] * height * scale * zoom;
      place();
    } else {
      zoom = 1;
      place();
    }
    find('.close-up').setAttribute('aria-pressed', mode === 'face');
    find('.actual').setAttribute('aria-pressed', mode === 'actual');
  };

  // Before: held, or left of the divider, which begins beside the edited face.
  const hold = on => {
    held = on && Boolean(state);
    viewer.classList.toggle('held', held);
  };
  const besideFace = () => {
    const face = box();
    return face ? limit(face[0] - 0.12 * (face[2] - face[0]), 0.01, 0.95) : 0.5;
  };
  const divide = value => {
    split = value === null ? null : limit(value, 0, 1);
    viewer.classList.toggle('divided', split !== null);
    divider.hidden = split === null;
    divider.tabIndex = split === null ? -1 : 0;
    find('.split').setAttribute('aria-pressed', split !== null);
    place();
  };

  const full = async () => {
    const on = document.fullscreenElement === viewer || viewer.classList.contains('overlay');
    if (on) {
      viewer.classList.remove('overlay');
      if (document.fullscreenElement) await document.exitFullscreen();
    } else {
      try { await viewer.requestFullscreen(); } catch { viewer.classList.add('overlay'); } // a phone without the API
    }
    marked();
  };
  const marked = () => {
    const on = document.fullscreenElement === viewer || viewer.classList.contains('overlay');
    find('.full').setAttribute('aria-pressed', on);
    show(mode, false);
  };
  document.addEventListener('fullscreenchange', marked);

  // Pointers: a press without movement shows the photo before; a movement pans a zoomed picture; two fingers zoom.
  const pointers = new Map();
  let pressed = null, pinch = null;
  frame.addEventListener('pointerdown', event => {
    if (event.button || event.target.closest('.cut, .mark, .own') || !state) return;
    frame.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, event);
    clearTimeout(pressed);
    if (pointers.size === 2) {
      hold(false);
      const [a, b] = [...pointers.values()];
      pinch = {distance: Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY), zoom};
    } else pressed = setTimeout(() => hold(true), 180);
  });
  frame.addEventListener('pointermove', event => {
    const last = pointers.get(event.pointerId);
    if (!last) return;
    pointers.set(event.pointerId, event);
    canvas.classList.remove('smooth');
    if (pinch && pointers.size === 2) {
      const [a, b] = [...pointers.values()], rect = frame.getBoundingClientRect();
      const distance = Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY);
      zoomTo(pinch.zoom * distance / pinch.distance, ((a.clientX + b.clientX) / 2 - rect.left) / rect.width,
             ((a.clientY + b.clientY) / 2 - rect.top) / rect.height);
    } else if (zoom > 1 && !held && (event.movementX || event.movementY)) {
      clearTimeout(pressed);
      x += event.clientX - last.clientX;
      y += event.clientY - last.clientY;
      place();
    }
  });
  const released = event => {
    pointers.delete(event.pointerId);
    if (pointers.size < 2) pinch = null;
    clearTimeout(pressed);
    hold(false);
  };
  ['pointerup', 'pointercancel'].forEach(name => frame.addEventListener(name, released));
  frame.addEventListener('dblclick', event => !event.target.closest('.mark, .own') && show(mode === 'fit' ? 'actual' : 'fit'));
  frame.addEventListener('contextmenu', event => held && event.preventDefault());
  frame.addEventListener('wheel', event => {
    if (!state || !(event.ctrlKey || event.metaKey || find('.full').getAttribute('aria-pressed') === 'true')) return;
    event.preventDefault();
    canvas.classList.remove('smooth');
    const rect = frame.getBoundingClientRect();
    zoomTo(zoom * Math.exp(-event.deltaY / 300), (event.clientX - rect.left) / rect.width, (event.clientY - rect.top) / rect.height);
  }, {passive: false});
  divider.addEventListener('pointerdown', event => {
    divider.setPointerCapture(event.pointerId);
    divider.onpointermove = move => {
      const rect = canvas.getBoundingClientRect();
      divide((move.clientX - rect.left) / rect.width);
    };
    divider.onpointerup = divider.onpointercancel = () => { divider.onpointermove = null; };
    event.preventDefault();
    divider.focus();
  });
  divider.addEventListener('keydown', event => {
    const step = {ArrowLeft: -0.02, ArrowRight: 0.02, ArrowDown: -0.02, ArrowUp: 0.02, PageDown: -0.1, PageUp: 0.1, Home: -1, End: 1}[event.key];
    if (step) { divide(split + step); event.preventDefault(); event.stopPropagation(); }
  });
  frame.addEventListener('keydown', event => {
    const move = {ArrowLeft: [40, 0], ArrowRight: [-40, 0], ArrowUp: [0, 40], ArrowDown: [0, -40]}[event.key];
    canvas.classList.remove('smooth');
    if (event.key === '+' || event.key === '=') zoomTo(zoom * 1.25);
    else if (event.key === '-') zoomTo(zoom / 1.25);
    else if (event.key === '0') show('fit');
    else if (move && zoom > 1) { x += move[0]; y += move[1]; place(); } else return;
    event.preventDefault();
  });
  const typing = target => target.closest?.('input:not([type=range]):not([type=radio]), textarea, [contenteditable]');
  document.addEventListener('keydown', event => {
    if (event.key?.toLowerCase() !== 'b' || event.ctrlKey || event.metaKey || typing(event.target) || !viewer.checkVisibility()) return;
    hold(true);
  });
  document.addEventListener('keyup', event => event.key?.toLowerCase() === 'b' && hold(false));
  document.addEventListener('keydown', event => event.key === 'Escape' && viewer.classList.contains('overlay') && full());
  window.addEventListener('blur', () => hold(false));

  const button = find('.hold');
  button.addEventListener('pointerdown', event => { hold(true); button.setPointerCapture(event.pointerId); });
  ['pointerup', 'pointercancel', 'blur'].forEach(name => button.addEventListener(name, () => hold(false)));
  button.addEventListener('contextmenu', event => event.preventDefault());
  button.addEventListener('keydown', event => [' ', 'Enter'].includes(event.key) && (hold(true), event.preventDefault()));
  button.addEventListener('keyup', () => hold(false));
  find('.split').addEventListener('click', () => divide(split === null ? besideFace() : null));
  find('.close-up').addEventListener('click', () => show(mode === 'face' ? 'fit' : 'face'));
  find('.actual').addEventListener('click', () => show(mode === 'actual' ? 'fit' : 'actual'));
  find('.full').addEventListener('click', full);
  if (tab === 'Edit') {
    find('.undo').addEventListener('click', () => exprgan.step(-1));
    find('.redo').addEventListener('click', () => exprgan.step(1));
    find('.reset').addEventListener('click', () => exprgan.reset());
  } else find('.steps').remove();

  find('.own').addEventListener('click', exprgan.choosePhoto);

  const drawMarks = () => {
    const boxes = (state?.boxes?.length ?? 0) > 1 ? state.boxes : [];
    if (marks.children.length !== boxes.length) { // a button that stays keeps the keyboard's focus
      marks.replaceChildren(...boxes.map((_, i) => {
        const mark = document.createElement('button');
        mark.type = 'button';
        mark.className = 'mark';
        mark.setAttribute('aria-label', `Face ${i + 1}`);
        mark.addEventListener('click', () => exprgan[tab === 'Edit' ? 'chooseFace' : 'chooseTransferFace'](i + 1));
        return mark;
      }));
    }
    boxes.forEach(([x0, y0, x1, y1], i) => {
      const mark = marks.children[i];
      mark.setAttribute('aria-pressed', i + 1 === state.face);
      Object.assign(mark.style, {left: `${100 * x0}%`, top: `${100 * y0}%`, width: `${100 * (x1 - x0)}%`, height: `${100 * (y1 - y0)}%`});
    });
  };
  const drawChips = () => {
    const focused = [...chips.children].findIndex(item => item.contains(document.activeElement));
    chips.replaceChildren(...(state?.chips ?? []).map(([name, words]) => {
      const item = document.createElement('li'), remove = document.createElement('button');
      item.textContent = words;
      remove.type = 'button';
      remove.textContent = '×';
      remove.setAttribute('aria-label', `Remove: ${words}`);
      remove.addEventListener('click', () => exprgan.clear(name));
      item.append(remove);
      return item;
    }));
    chips.hidden = !chips.children.length;
    if (focused >= 0) ([...chips.children].slice(0, focused + 1).at(-1)?.querySelector('button') ?? frame).focus({preventScroll: true});
  };
  const update = () => {
    const value = props.value?.after ? props.value : null, samePhoto = value && state?.before.url === value.before.url;
    const faceChanged = !samePhoto || state.face !== value.face;
    state = value;
    viewer.classList.toggle('empty', !state);
    if (state) {
      if (!samePhoto) before.src = state.before.url;
      after.src = state.after.url;
      before.alt = 'The photo before';
      after.alt = state.unchanged ? 'Your photo, unchanged' : `The photo after: ${state.title}`;
      find('.after-tag').textContent = state.unchanged ? 'Your photo' : state.title;
      if (faceChanged && split !== null) divide(besideFace());
      if (faceChanged && mode === 'face') show('face');
      if (!introduced && !exprgan.restoring) {
        viewer.classList.add('intro');
        setTimeout(() => viewer.classList.remove('intro'), 2600);
      }
      introduced = true;
    } else {
      before.removeAttribute('src');
      after.removeAttribute('src');
      if (split !== null) divide(null);
    }
    find('.own').hidden = tab !== 'Edit' || !state || Boolean(state.photo);
    drawMarks();
    drawChips();
    if (tab === 'Edit') exprgan.shown(state, after, viewer);
  };
  before.addEventListener('load', () => {
    if (width === before.naturalWidth && height === before.naturalHeight) return;
    [width, height] = [before.naturalWidth, before.naturalHeight];
    show('fit', false);
    if (split !== null) divide(besideFace());
  });
  new ResizeObserver(() => show(mode, false)).observe(frame);
  watch('value', update);
  update();
};
