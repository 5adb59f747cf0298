// Pictures with labels, one of which is chosen.

exprgan.tiles = (element, props, watch) => {
  const group = element.querySelector('.tiles'), action = group.dataset.action;
  const choose = chosen => {
    [...group.children].forEach(tile => tile.setAttribute('aria-pressed', tile.dataset.value === String(chosen)));
  };
  const update = () => {
    const {tiles = [], chosen} = props.value ?? {};
    const keep = group.children.length === tiles.length && tiles.every((tile, i) => group.children[i].dataset.value === String(tile.value));
    if (!keep) {
      group.replaceChildren(...tiles.map(tile => {
        const button = document.createElement('button'), picture = document.createElement('img'), label = document.createElement('span');
        button.type = 'button';
        button.dataset.value = tile.value;
        picture.alt = '';
        label.textContent = tile.label;
        button.append(picture, label);
        button.addEventListener('click', () => exprgan[action](tile.value));
        return button;
      }));
    }
    tiles.forEach((tile, i) => { group.children[i].firstChild.src = tile.picture?.url ?? ''; });
    if (chosen !== null && chosen !== undefined) choose(chosen);
    else if (action === 'chooseExpression') choose(exprgan.expression());
    const block = element.closest('.block');
    block?.classList.toggle('none', !tiles.length);
    block?.classList.remove('stale');
  };
  exprgan.choosers[action] = choose;
  watch('value', update);
  update();
};
