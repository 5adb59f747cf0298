// The visitor's camera: one frame at a time is sent, mirrored and small, and its edit shown; the next when it has come back.

const LIVE_PX = 480, LIVE_QUALITY = 0.85;
const camera = {video: document.createElement('video'), stream: null, busy: false};
camera.video.muted = camera.video.playsInline = true;

exprgan.live = (element, props, watch) => {
  const picture = element.querySelector('img'), note = element.querySelector('.live-note');
  const button = element.querySelector('button'), speed = element.querySelector('.live-speed');
  let times = [];
  const say = text => { if (note.textContent !== text) note.textContent = text; };
  const stop = text => {
    camera.stream?.getTracks().forEach(track => track.stop());
    camera.stream = null;
    camera.busy = false;
    times = [];
    speed.textContent = '';
    button.textContent = 'Start the camera';
    say(text);
  };
  const start = async () => {
    if (!navigator.mediaDevices?.getUserMedia) return say('This browser gives no camera to this page. Open it by https:// or on this machine itself.');
    button.disabled = true;
    try {
      camera.stream = await navigator.mediaDevices.getUserMedia({video: {width: {ideal: 640}, facingMode: 'user'}});
      camera.video.srcObject = camera.stream;
      await camera.video.play();
    } catch (error) {
      const reasons = {NotAllowedError: 'The camera was not allowed. Allow it beside the address of this page, and start again.',
        NotFoundError: 'There is no camera on this device.', NotReadableError: 'Another program is using the camera. Close it, and start again.'};
      return stop(reasons[error.name] ?? 'The camera could not be started.');
    } finally {
      button.disabled = false;
    }
    button.textContent = 'Stop the camera';
    say('');
    picture.hidden = false;
    exprgan.nextFrame();
  };
  button.addEventListener('click', () => camera.stream ? stop('') : start());
  exprgan.nextFrame = () => {
    if (!camera.stream || camera.busy) return;
    if (!element.checkVisibility()) return stop('');
    camera.busy = true;
    document.querySelector('#live-frame').click();
  };
  exprgan.liveFailed = () => stop('The connection was lost, or many visitors are here. Start the camera again.');
  watch('value', () => {
    const {picture: source, note: text} = props.value ?? {};
    if (!source || !camera.stream) return;
    picture.src = source;
    say(text);
    const now = performance.now();
    times = [...times.filter(time => now - time < 3000), now];
    if (times.length > 1) speed.textContent = `${((times.length - 1) * 1000 / (now - times[0])).toFixed(1)} frames a second`;
  });
};

// The newest frame of the camera, as a visitor sees herself in a mirror.
exprgan.cameraFrame = () => {
  const {video} = camera, scale = Math.min(1, LIVE_PX / Math.max(video.videoWidth, video.videoHeight));
  const canvas = document.createElement('canvas'), context = canvas.getContext('2d');
  canvas.width = Math.round(video.videoWidth * scale);
  canvas.height = Math.round(video.videoHeight * scale);
  context.scale(-1, 1);
  context.drawImage(video, -canvas.width, 0, canvas.width, canvas.height);
  return canvas.toDataURL('image/jpeg', LIVE_QUALITY);
};
exprgan.frameShown = () => {
  camera.busy = false;
  requestAnimationFrame(() => exprgan.nextFrame());
};
