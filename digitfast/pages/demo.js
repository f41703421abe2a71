const $ = q => element.querySelector(q), pad = $('.pad'), seen = $('.seen'), ctx = pad.getContext('2d');
let last = null, inked = false, busy = false, again = false;

function show(r) {
  $('.prediction').replaceChildren();
  if (r.digit !== undefined) {
    const b = document.createElement('b'); b.textContent = r.digit; $('.prediction').append(b);
  } else $('.prediction').textContent = r.note;
  const percent = p => (100*p).toFixed(1)+'%', [first, second] = [...(r.bars || [])].sort((a, b) => b[1]-a[1]);
  $('.then').textContent = r.digit === undefined ? '' : percent(first[1]) + (second ? ', then ' + second[0] + ' (' + percent(second[1]) + ')' : '');
  $('.doubt').textContent = r.doubt ? 'In doubt: ' + r.doubt : '';
  $('main').classList.toggle('doubtful', !!r.doubt);
  const box = $('.box');
  box.hidden = !r.box;
  if (r.box) {
    const [x0, y0, x1, y1] = r.box.map(v => 100*v);
    Object.assign(box.style, {left: x0+'%', top: y0+'%', width: x1-x0+'%', height: y1-y0+'%'});
  }
  $('.bars').replaceChildren(...(r.bars || props.classes.map(c => [c, 0])).map(([name, p]) => {
    const row = document.createElement('div'), label = document.createElement('span'), track = document.createElement('i'), fill = document.createElement('u'), pct = document.createElement('span');
    row.className = 'bar'; label.textContent = name; fill.style.width = 100*p+'%'; pct.textContent = r.bars ? percent(p) : '';
    track.append(fill); row.append(label, track, pct); return row;
  }));
  seen.width = seen.height = props.side;
  if (r.seen) {
    const im = new ImageData(props.side, props.side);
    r.seen.flat().forEach((v, i) => im.data.set([v, v, v, 255], 4*i));
    seen.getContext('2d').putImageData(im, 0, 0);
  }
}

async function read() {
  again = true;
  if (busy) return;
  busy = true;
  while (again) {
    again = false;
    let r;
    try { r = inked ? await server.read(pad.toDataURL()) : {note: props.hint}; }
    catch (e) {}
    r ??= {note: 'No answer: is the server still running?'}; // Gradio's client returns nothing after some errors
    if (!again) show(r);
  }
  busy = false;
}

function paper(width, height) { // a new sheet of this size
  Object.assign(pad, {width, height});
  ctx.fillStyle = '#fff'; ctx.fillRect(0, 0, width, height); last = null;
}

function clear() { paper(280, 280); inked = false; read(); }

async function open(file) {
  if (!file) return;
  let im;
  try { im = await createImageBitmap(file); }
  catch (e) { return show({note: 'This file is no picture that the browser can open, expected a JPEG or PNG file.'}); }
  const scale = Math.min(1, 640/Math.max(im.width, im.height)); // the server reads drawings of up to 2 MiB
  paper(Math.max(1, Math.round(im.width*scale)), Math.max(1, Math.round(im.height*scale)));
  ctx.imageSmoothingQuality = 'high';
  ctx.drawImage(im, 0, 0, pad.width, pad.height);
  inked = true; read();
}

function pen(e) {
  const box = pad.getBoundingClientRect(), at = [(e.clientX-box.left)*pad.width/box.width, (e.clientY-box.top)*pad.height/box.height];
  Object.assign(ctx, {lineWidth: 18*Math.max(pad.width, pad.height)/280, lineCap: 'round', lineJoin: 'round', strokeStyle: '#000'});
  ctx.beginPath(); ctx.moveTo(...(last || at)); ctx.lineTo(...at); ctx.stroke();
  last = at; inked = true;
}

pad.addEventListener('pointerdown', e => { if (e.isPrimary && e.button === 0) { e.preventDefault(); try { pad.setPointerCapture(e.pointerId); } catch (_) {} pen(e); } });
pad.addEventListener('pointermove', e => { if (last && e.isPrimary) for (const o of e.getCoalescedEvents().length ? e.getCoalescedEvents() : [e]) pen(o); });
for (const k of ['pointerup', 'pointercancel']) pad.addEventListener(k, e => { if (last && e.isPrimary) { last = null; read(); } });
$('.clear').addEventListener('click', clear);
$('.upload input').addEventListener('change', e => { open(e.target.files[0]); e.target.value = ''; });
pad.addEventListener('dragover', e => e.preventDefault());
pad.addEventListener('drop', e => { e.preventDefault(); open(e.dataTransfer.files[0]); });
$('h1').textContent = props.title; $('.about').textContent = props.about;
clear();
