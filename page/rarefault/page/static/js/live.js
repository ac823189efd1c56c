// News from the server: that something has changed. A view asks again for what it shows.

/** Calls `onNews(alarm)` when something is new, `onLost(lost)` when the connection goes or is back. */
export function follow(onNews, onLost) {
  const PACE_MS = 2000; // without an alarm, views ask no more often
  let known = null;
  let last = Date.now();
  let timer = null;
  let wanted = null;

  function tell() {
    clearTimeout(timer);
    timer = null;
    if (document.hidden || wanted === null) return;
    const alarm = wanted;
    wanted = null;
    last = Date.now();
    onNews(alarm);
  }

  const source = new EventSource("/api/v1/events");
  source.onopen = () => onLost(false);
  source.onerror = () => onLost(true);
  source.onmessage = (event) => {
    onLost(false);
    const news = JSON.parse(event.data);
    const alarm = known !== null && news.alarms > known.alarms;
    known = news;
    wanted = wanted || alarm;
    if (alarm) tell();
    else timer ??= setTimeout(tell, Math.max(PACE_MS - (Date.now() - last), 0));
  };
  document.addEventListener("visibilitychange", tell);
}
