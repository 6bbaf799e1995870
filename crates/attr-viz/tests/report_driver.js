// Runs inside a rendered report, as a second script. Uses every control as a reader would, compares
// what is drawn with the data, and ends with a pre element of id outcome that holds JSON: "failures",
// "checks" (how many), "ready_ms", and "skipped": what the report has no data for.
'use strict';
(async () => {
  const failures = [];
  const skipped = [];
  let checks = 0;
  const $ = (id) => document.getElementById(id);
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];

  addEventListener('error', ({ message }) => failures.push(`error: ${message}`));
  addEventListener('unhandledrejection', ({ reason }) => failures.push(`rejection: ${reason}`));
  addEventListener('securitypolicyviolation', ({ violatedDirective }) => failures.push(`CSP: ${violatedDirective}`));
  console.error = (...words) => failures.push(`console: ${words.join(' ')}`);
  window.alert = (words) => failures.push(`alert: ${words}`);

  function check(name, holds, detail = '') {
    checks += 1;
    if (!holds) failures.push(detail === '' ? name : `${name}: ${detail}`);
  }

  const same = (name, got, expected) => check(name, got === expected, `got ${got}, expected ${expected}`);

  const pause = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });

  async function until(name, holds) {
    for (let i = 0; i < 300 && !holds(); i++) await pause(10);
    check(name, holds(), 'never happened');
  }

  const ready = () => until('the page is ready', () => document.documentElement.dataset.ready === 'true');

  // Reading the page

  const data = JSON.parse(all('script[type="application/json"]').map((part) => part.textContent).join(''));
  const isInput = (attribution) => attribution.layer === null && attribution.error === null;
  const methodCards = () => all('#cards > .card:not(.input)');
  const pixels = (canvas) => canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
  /** What can be seen in the cards: pixels and colours, and texts. */
  const seen = () => methodCards().map((card) => {
    const colours = all('.token, .fill', card).map((node) => node.style.cssText);
    return [...all('canvas', card).map((canvas) => hash(pixels(canvas))), ...colours, card.textContent].join('|');
  }).join('\n');
  const hash = (bytes) => bytes.reduce((h, byte) => (h * 31 + byte) | 0, 7);
  /** The page adds isolation marks around text from the data. */
  const plain = ({ textContent }) => textContent.replace(/[\u2068\u2069]/g, '');
  const visibleText = () => all('body > :not(script)').map(plain).join(' ');

  // Using the page

  async function act(name, change, expectChange = true) {
    const before = seen();
    await change();
    await ready();
    if (expectChange) check(`${name} changes what is seen`, seen() !== before);
  }

  const radio = (name, value) => document.querySelector(`input[name="${name}"][value="${value}"]`).click();

  function set(id, value, event) {
    $(id).value = value;
    $(id).dispatchEvent(new Event(event, { bubbles: true }));
  }

  async function go(index) {
    if ($('filter').value) set('filter', '', 'input');
    await ready();
    set('sample', index, 'change');
    await ready();
    // A layer stays chosen where the next sample has it.
    const input = all('option', $('layer')).find((own) => own.textContent === 'input');
    if (input) set('layer', input.value, 'change');
    await ready();
  }

  async function choose(id, label) {
    // A score may follow in brackets.
    const fits = (own) => [plain(own), plain(own).replace(/ \([^()]*\)$/, '')].includes(label);
    const option = all('option', $(id)).find(fits);
    check(`${id} offers ${label}`, option);
    if (option) set(id, option.value, 'change');
    await ready();
  }

  function press(node, key, more = {}) {
    node.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true, cancelable: true, ...more }));
  }

  /** Moves the mouse over the middle of a node. */
  function hover(node) {
    node.scrollIntoView({ block: 'center' });
    const box = node.getBoundingClientRect();
    const [clientX, clientY] = [box.left + box.width / 2, box.top + box.height / 2];
    node.dispatchEvent(new PointerEvent('pointermove', { clientX, clientY, bubbles: true }));
  }

  function find(name, wanted) {
    const index = data.samples.findIndex(wanted);
    if (index < 0) skipped.push(name);
    return index;
  }

  // What a picture must look like, computed apart from the page

  function floats(base64) {
    const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
    return Array.from(new Float32Array(bytes.buffer));
  }

  function normalize(values, sign, outlier) {
    const [positive, negative] = [(v) => Math.max(v, 0), (v) => Math.max(-v, 0)];
    const signs = { all: (v) => v, positive, negative, absolute_value: Math.abs };
    const kept = values.map(signs[sign]);
    const sorted = kept.map(Math.abs).sort((a, b) => a - b);
    const total = sorted.reduce((a, b) => a + b, 0);
    let sum = 0;
    const reached = (v) => { sum += v; return sum >= total * (100 - outlier) / 100; };
    const threshold = sorted.find(reached) ?? sorted[sorted.length - 1];
    return kept.map((v) => (threshold ? Math.min(Math.max(v / threshold, -1), 1) : 0));
  }

  /** Bilinear: every value spreads as a tent as wide as two cells. */
  function scaled(values, [rows, columns], { width, height }) {
    const tents = (from, to) => Array.from({ length: to }, (_, i) => {
      const middle = (i + 0.5) * from / to - 0.5;
      const weights = Array.from({ length: from }, (__, cell) => Math.max(0, 1 - Math.abs(middle - cell)));
      const total = weights.reduce((a, b) => a + b, 0);
      return weights.map((weight) => weight / total);
    });
    const across = tents(columns, width);
    return tents(rows, height).flatMap((down) => {
      const column = (c) => down.reduce((sum, weight, r) => sum + weight * values[r * columns + c], 0);
      const mixed = Array.from({ length: columns }, (_, c) => column(c));
      return across.map((weights) => weights.reduce((sum, weight, c) => sum + weight * mixed[c], 0));
    });
  }

  function heat(values, sign) {
    const base64 = data.palettes[sign === 'all' ? 'signed' : 'unsigned'];
    const palette = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
    return values.flatMap((v) => {
      const at = 3 * Math.round((sign === 'all' ? (v + 1) / 2 : v) * 255);
      return [...palette.slice(at, at + 3), 255];
    });
  }

  /** The largest difference of two pictures' bytes. */
  const difference = (a, b) =>
    a.reduce((most, v, i) => Math.max(most, Math.abs(v - b[i])), a.length === b.length ? 0 : 256);

  // The checks

  async function images() {
    const fits = ({ input }) => (own) => isInput(own) && own.shape[0] === input.height && own.shape[1] === input.width;
    const index = find('an image with an attribution of its size',
      (sample) => sample.input.kind === 'image' && sample.attributions.some(fits(sample)));
    if (index < 0) return;
    const { input, attributions } = data.samples[index];
    await go(index);
    const fitting = attributions.filter(fits(data.samples[index]));
    const attribution = fitting.find((own) => Math.min(...floats(own.values)) < 0) || fitting[0];
    await choose('target', attribution.target);
    const card = methodCards().find((own) => own.querySelector('h3').textContent === attribution.method);
    const canvas = card.querySelector('canvas');
    same('the picture has the width of the image', canvas.width, input.width);
    same('the picture has the height of the image', canvas.height, input.height);
    const original = Array.from(pixels(document.querySelector('#cards > .input canvas')));
    check('the input is drawn', new Set(original).size > 1);
    const withReferences = fitting.find((own) => own.references && own.target === attribution.target);
    if (withReferences) {
      const cards = methodCards().filter((own) => own.querySelector('.references'));
      same('references stand where they belong', cards.length, 1);
      same('their card is right', cards[0].querySelector('h3').textContent, withReferences.method);
      const images = Array.from(cards[0].querySelectorAll('.references img'));
      same('all references are there', images.length, data.references[withReferences.references].length);
      await Promise.all(images.map((image) => image.decode()));
      check('references have alternative texts', images.every(({ alt }) => alt.includes(withReferences.method)));
    }

    const values = floats(attribution.values);
    for (const sign of ['positive', 'negative', 'absolute_value', 'all']) {
      radio('sign', sign);
      const off = difference(Array.from(pixels(canvas)), heat(normalize(values, sign, 2), sign));
      check(`the heat map of sign ${sign} is right`, off <= 1, `off by ${off}`);
    }
    await act('the outlier percentile', () => set('outlier', 10, 'input'));
    const off = difference(Array.from(pixels(canvas)), heat(normalize(values, 'all', 10), 'all'));
    check('the heat map of outlier percentile 10 is right', off <= 1, `off by ${off}`);
    same('the outlier percentile is shown', $('outlier-value').textContent, '10 %');
    set('outlier', 2, 'input');

    const shares = normalize(values, 'all', 2);
    const colours = heat(shares, 'all');
    await act('the blended view', () => radio('view', 'blended_heat_map'));
    const blended = (weight) => original.map((v, i) => {
      const p = i - i % 4;
      const grey = Math.floor((original[p] + original[p + 1] + original[p + 2]) / 3);
      return i % 4 === 3 ? 255 : grey * (1 - weight) + colours[i] * weight;
    });
    check('the blended view is right', difference(Array.from(pixels(canvas)), blended(0.7)) <= 1);
    await act('the overlay weight', () => set('weight', 0.25, 'input'));
    check('the overlay weight is right', difference(Array.from(pixels(canvas)), blended(0.25)) <= 1);
    await act('the masked view', () => radio('view', 'masked_image'));
    const masked = original.map((v, i) => (i % 4 === 3 ? 255 : v * Math.abs(shares[i >> 2])));
    check('the masked view is right', difference(Array.from(pixels(canvas)), masked) <= 1);
    await act('the original view', () => radio('view', 'original_image'));
    check('the original view is right', difference(Array.from(pixels(canvas)), original) === 0);
    await act('the reset', () => $('reset').click());
    same('the reset restores the weight', $('weight').value, '0.7');

    const picture = card.querySelector('.picture');
    const reads = () => all('#cards .read').map((own) => own.textContent);
    hover(picture);
    const [x, y] = [input.width >> 1, input.height >> 1];
    const isHere = (read) => read.startsWith(`x ${x}, y ${y}: `);
    check('all cards read the same place', reads().every(isHere), reads().join('; '));
    const value = values[y * input.width + x];
    const read = Number(card.querySelector('.read').textContent.split(': ')[1]);
    check('the value read is right', Math.abs(read - value) <= Math.abs(value) / 100, `${read}, expected ${value}`);
    check('a cross marks the place', !card.querySelector('.cross').hidden);
    check('the live region does not follow the mouse', $('announcer').textContent === '');
    picture.dispatchEvent(new PointerEvent('pointerleave'));
    check('leaving ends it', reads().every((own) => own === ''));

    same('the picture takes the focus', picture.tabIndex, 0);
    picture.focus();
    press(picture, 'ArrowRight');
    press(picture, 'ArrowDown', { shiftKey: true });
    const place = `x ${Math.min(x + 1, input.width - 1)}, y ${Math.min(y + 10, input.height - 1)}: `;
    check('arrow keys move the cross', reads().every((own) => own.startsWith(place)), reads().join('; '));
    check('arrow keys are announced', $('announcer').textContent.startsWith(place), $('announcer').textContent);
    check('the announcement has the values', $('announcer').textContent.includes(attribution.method));
    for (let i = 0; i < input.width; i++) press(picture, 'ArrowLeft');
    check('the cross stays inside', reads().every((own) => own.startsWith('x 0, ')), reads().join('; '));
    picture.blur();
    check('a label says what the picture is', picture.getAttribute('aria-label').includes(attribution.method));

    const list = card.querySelector('.strongest');
    list.open = true;
    await until('the strongest positions are listed', () => list.querySelector('li'));
    const strongest = values.reduce((best, v, i) => (Math.abs(v) > Math.abs(values[best]) ? i : best), 0);
    const [sx, sy] = [strongest % input.width, Math.floor(strongest / input.width)];
    const first = list.querySelector('li').textContent;
    check('the strongest position leads the list', first.startsWith(`x ${sx}, y ${sy}`), first);
  }

  async function smallMaps() {
    const smaller = ({ input }) => ({ shape, error }) => error === null && shape.length === 2 && shape[1] < input.width;
    const index = find('a map smaller than its image',
      (sample) => sample.input.kind === 'image' && sample.attributions.some(smaller(sample)));
    if (index < 0) return;
    const sample = data.samples[index];
    const attribution = sample.attributions.find(smaller(sample));
    await go(index);
    await choose('target', attribution.target);
    await choose('layer', attribution.layer === null ? 'input' : attribution.layer);
    const card = methodCards().find((own) => own.querySelector('h3').textContent === attribution.method);
    const picture = card.querySelector('.picture');
    same('a small map has the size of its image', card.querySelector('canvas').width, sample.input.width);
    const values = floats(attribution.values);
    const expected = heat(normalize(scaled(values, attribution.shape, sample.input), 'all', 2), 'all');
    const off = difference(Array.from(pixels(card.querySelector('canvas'))), expected);
    // Rounding may choose the neighbour in the palette.
    check('a small map is scaled up', off <= 8, `off by ${off}`);
    picture.focus();
    for (let i = 0; i < sample.input.width; i++) press(picture, 'ArrowLeft');
    for (let i = 0; i < sample.input.height; i++) press(picture, 'ArrowUp');
    const read = Number(card.querySelector('.read').textContent.split(': ')[1]);
    const [value] = values;
    const isValue = Math.abs(read - value) <= Math.abs(value) / 100 + 1e-12;
    check('its corner is not interpolated', isValue, `${read}, expected ${value}`);
    picture.blur();
  }

  async function otherKinds() {
    const text = find('a text', ({ input, attributions }) => input.kind === 'text' && attributions.some(isInput));
    if (text >= 0) {
      await go(text);
      const { tokens } = data.samples[text].input;
      const [card] = methodCards();
      const marks = all('.token', card);
      check('all tokens are there', marks.map((own) => own.textContent).join('|') === tokens.join('|'));
      await act('the sign', () => radio('sign', 'positive'));
      await act('the sign', () => radio('sign', 'all'));
      hover(marks[0]);
      const reads = () => all('#cards .card:not(.input) .read').map(plain);
      check('tokens are read', reads().length > 0);
      check('a token is read in all cards', reads().every((read) => read.startsWith(tokens[0])), reads().join('; '));
      const picture = card.querySelector('.picture');
      picture.focus();
      press(picture, 'ArrowRight');
      const next = tokens[Math.min(1, tokens.length - 1)];
      check('arrow keys go to the next token', reads()[0].startsWith(next), reads()[0]);
      picture.blur();
    }
    const table = find('a table', ({ input, attributions }) => input.kind === 'table' && attributions.some(isInput));
    if (table >= 0) {
      await go(table);
      const { features } = data.samples[table].input;
      const bars = () => all('.fill', methodCards()[0]).length;
      same('a bar for each feature, at most 20', bars(), Math.min(features.length, 20));
      await act('the sign', () => radio('sign', 'negative'));
      radio('sign', 'all');
    }
    const long = find('a table of more than 20 features',
      ({ input }) => input.kind === 'table' && input.features.length > 20);
    if (long >= 0) {
      await go(long);
      const [card] = methodCards();
      await act('show all', () => card.querySelector('.bars button').click());
      same('all features are shown', all('.fill', card).length, data.samples[long].input.features.length);
      await act('show fewer', () => card.querySelector('.bars button').click());
    }
    const series = find('a time series',
      ({ input, attributions }) => input.kind === 'series' && attributions.some(isInput));
    if (series >= 0) {
      await go(series);
      const { channels } = data.samples[series].input;
      const [card] = methodCards();
      same('a strip for each channel', all('.strip', card).length, channels.length);
      await act('the sign', () => radio('sign', 'absolute_value'));
      radio('sign', 'all');
      const picture = card.querySelector('.picture');
      picture.focus();
      press(picture, 'ArrowRight');
      const read = () => plain(card.querySelector('.read'));
      const [, name, step] = read().match(/^(.*), step (\d+): /s);
      check('a channel is named', channels.some((channel) => channel.name === name), name);
      press(picture, 'ArrowLeft');
      check('arrow keys go to the next step', read().startsWith(`${name}, step ${step - 1}: `), read());
      picture.blur();
    }
  }

  async function controls() {
    if (data.samples.length > 1) {
      await go(0);
      const first = $('name').textContent;
      await act('next', () => $('next').click());
      same('next shows the next sample', $('name').textContent, data.samples[1].name);
      await act('previous', () => $('previous').click());
      same('previous shows the previous sample', $('name').textContent, first);
      check('there is none before the first', $('previous').disabled);
      await act('a sample that is not there', () => set('filter', 'no sample has this name', 'input'), false);
      same('none is found', all('option', $('sample')).length, 0);
      check('without one found there is no next', $('next').disabled && $('previous').disabled);
      const last = data.samples[data.samples.length - 1].name;
      set('filter', last.slice(1).toLowerCase(), 'input');
      await ready();
      check('the filter finds by name', $('name').textContent.includes(last.slice(1)), $('name').textContent);
      set('filter', '', 'input');
      await ready();
    } else {
      skipped.push('several samples');
    }
    const several = (key) => ({ attributions }) => new Set(attributions.map((own) => own[key])).size > 1;
    const targets = find('two target classes', several('target'));
    if (targets >= 0) {
      await go(targets);
      const names = [...new Set(data.samples[targets].attributions.map(({ target }) => target))];
      await choose('target', names[0]);
      await act('the target', () => choose('target', names[1]));
      check('the target is named', $('question').textContent.includes(names[1]));
    }
    const layered = find('two layers', several('layer'));
    if (layered >= 0) {
      await go(layered);
      const { layer, target } = data.samples[layered].attributions.find((own) => own.layer !== null);
      await choose('target', target);
      await act('the layer', () => choose('layer', layer));
      check('the layer is named', $('question').textContent.includes(layer));
      // The address is written with a delay.
      await pause(500);
      const link = location.hash;
      await choose('layer', 'input');
      radio('sign', 'negative');
      await pause(500);
      check('the address follows the sign', location.hash.includes('sign=negative'), location.hash);
      check('the address follows the layer', !location.hash.includes('layer='), location.hash);
      location.hash = link;
      await pause(100);
      await ready();
      check('an address restores the layer', $('question').textContent.includes(layer));
      check('an address restores the sign', document.querySelector('input[name="sign"][value="all"]').checked);
    }
    const methods = find('two methods', several('method'));
    if (methods >= 0) {
      await go(methods);
      const count = methodCards().length;
      const [box] = all('#methods input');
      box.click();
      same('an unchecked method is hidden', methodCards().length, count - 1);
      box.click();
      same('a checked method is shown', methodCards().length, count);
    }
    const background = () => getComputedStyle(document.documentElement).backgroundColor;
    const [light, label] = [background(), $('theme').textContent];
    $('theme').click();
    check('the theme changes', background() !== light && $('theme').textContent !== label, background());
    $('theme').click();
    same('the theme changes back', background(), light);
    if (data.reproduce.length) {
      // The browser's own clipboard answers in real time, and the page's clock runs ahead of that.
      const lines = data.reproduce.map(({ name, value }) => `${name}: ${value}`);
      let copied = '';
      const writeText = async (words) => { copied = words; };
      const refuse = async () => { throw new Error('not allowed'); };
      for (const [clipboard, word] of [[writeText, 'Copied.'], [refuse, 'Selected. ']]) {
        Object.defineProperty(navigator, 'clipboard', { value: { writeText: clipboard }, configurable: true });
        $('copy').click();
        await until(`copying ends with "${word}"`, () => $('copied').textContent.startsWith(word));
      }
      same('all that reproduces is copied', copied, lines.join('\n'));
      check('what cannot be copied is selected', getSelection().toString().includes(data.reproduce[0].value));
    } else {
      skipped.push('reproduce');
    }
  }

  /** Visits every sample, target and layer: nothing fails and every text can be read. */
  async function texts() {
    const expect = (what, words) => {
      const text = visibleText();
      for (const word of words) check(`${what} appears as text`, text.includes(word), word);
    };
    expect('what belongs to the report', [data.title, data.generator, ...data.left_out]);
    expect('how to reproduce', data.reproduce.flatMap(({ name, value }) => [name, value]));
    expect('the model', data.model.flatMap(({ name, op }) => [name, op]));
    same('the title is the title', document.title, data.title.replace(/\s+/g, ' ').trim());
    for (const [index, sample] of data.samples.entries()) {
      await go(index);
      const { input, predictions } = sample;
      expect('a sample', [sample.name, ...predictions.slice(0, 10).map(({ label }) => label)]);
      // A failed attribution shows none of these.
      if (sample.attributions.some(isInput)) {
        expect('a token', input.tokens || []);
        expect('a channel', (input.channels || []).map(({ name }) => name));
        const { features = [] } = input;
        if (features.length <= 20) expect('a feature', features.flatMap(({ name, value }) => [name, value]));
      }
      for (const target of new Set(sample.attributions.map((own) => own.target))) {
        await choose('target', target);
        const ofTarget = sample.attributions.filter((own) => own.target === target);
        for (const layer of new Set(ofTarget.map((own) => own.layer))) {
          await choose('layer', layer === null ? 'input' : layer);
          const own = ofTarget.filter((one) => one.layer === layer);
          same('a card for each attribution', methodCards().length, own.length);
          expect('a method', own.map(({ method }) => method));
          expect('an error', own.map(({ error }) => error || ''));
          expect('a metric', own.flatMap(({ metrics }) => metrics.map(({ name }) => name)));
        }
        const ledger = data.ledger.filter((one) => one.sample === sample.name && one.target === target);
        expect('a ledger', ledger.flatMap(({ entries }) => entries.map(({ layer }) => layer)));
        same('the ledger is shown when there is one', !$('ledger').hidden, ledger.length > 0);
      }
    }
  }

  function page() {
    same('scripts that run', all('script:not([type])').length, 2);
    same('all other scripts are data', all('script[type]:not([type="application/json"])').length, 0);
    for (const selector of ['img:not(.references img)', 'iframe', 'object', 'embed', 'svg', 'a', 'b', 'i', 'script script']) {
      same(`elements ${selector}`, all(selector).length, 0);
    }
    const own = all('.references img').filter(({ src }) => !src.startsWith('data:image/png;base64,'));
    same('references from elsewhere', own.length, 0);
    const handlers = all('*').filter((node) => [...node.attributes].some(({ name }) => name.startsWith('on')));
    same('handlers in attributes', handlers.length, 0);
    const loads = performance.getEntriesByType('resource').map(({ name }) => name);
    same('nothing is loaded from the network', loads.filter((name) => /^https?:/.test(name)).join(' '), '');
    const { scrollWidth, clientWidth } = document.documentElement;
    check('the page fits its window', scrollWidth <= clientWidth, `${scrollWidth} > ${clientWidth}`);
    const named = (node) => node.labels && node.labels.length > 0;
    for (const node of all('input, select')) check('every control has a label', named(node), node.id || node.outerHTML);
    for (const node of all('button')) check('every button has a name', node.textContent.trim() !== '', node.id);
    const ids = all('[id]').map(({ id }) => id);
    same('ids are unique', new Set(ids).size, ids.length);
    check('nothing is left loading', $('status').hidden || data.samples.length === 0, $('status').textContent);
  }

  let readyMs = null;
  try {
    await ready();
    const [mark] = performance.getEntriesByName('ready');
    readyMs = mark ? Math.round(mark.startTime) : null;
    page();
    if (data.samples.length) {
      await images();
      page();
      await smallMaps();
      await otherKinds();
      page();
      await controls();
      page();
      await texts();
    } else {
      check('an empty report says so', visibleText().includes('This report has no samples.'));
      check('an empty report has no controls', $('controls').hidden);
    }
    page();
  } catch (error) {
    failures.push(`the driver stopped: ${error.stack}`);
  }
  const outcome = document.createElement('pre');
  outcome.id = 'outcome';
  outcome.textContent = JSON.stringify({ failures: [...new Set(failures)], skipped, checks, ready_ms: readyMs });
  document.body.append(outcome);
})();
