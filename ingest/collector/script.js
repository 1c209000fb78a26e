/* Castledger: page views and events of this page. No cookies, nothing stored. See docs/pixel.md. */
(function (w, d, n) {
  var tag = d.currentScript, key = tag && tag.getAttribute("data-key");
  var off = n.globalPrivacyControl || n.doNotTrack == 1 || w.doNotTrack == 1;
  var query = new URLSearchParams(w.location.search);
  var click = query.get("cl_click"), promo = query.get("promo") || query.get("code");
  var library = "castledger-js/1";

  function uuid() {
    var b = w.crypto.getRandomValues(new Uint8Array(16)), i = 0;
    b[6] = b[6] & 15 | 64;
    b[8] = b[8] & 63 | 128;
    return "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx".replace(/xx/g, function () {
      return (b[i++] + 256).toString(16).slice(1);
    });
  }

  function track(type, fields) {
    if (off || !key) return null;
    var now = new Date().toISOString(), url = w.location.href, name;
    var event = { event_id: uuid(), type: type, occurred_at: now };
    if (url.length < 2049) event.url = url;
    if (/^https?:.{1,2040}$/.test(d.referrer)) event.referrer = d.referrer;
    if (/^[\w-]{21}[AQgw]$/.test(click)) event.click_id = click;
    if (promo && promo.length < 65) event.promo_code = promo;
    for (name in fields) event[name] = fields[name];
    var to = new URL("api/v1/attribution/events?k=" + key, tag.src).href;
    var body = JSON.stringify({ sent_at: now, library: library, events: [event] });
    if (!(n.sendBeacon && n.sendBeacon(to, body)) && w.fetch) {
      w.fetch(to, { method: "POST", body: body, keepalive: true, credentials: "omit" }).catch(function () {});
    }
    return event.event_id;
  }

  w.castledger = { track: track };
  function view() {
    track("page_view");
  }
  if (d.prerendering) d.addEventListener("prerenderingchange", view, { once: true });
  else view();
})(window, document, navigator);
