// All words of the page, in each language; {name} stands for a value.

const TEXTS = {
  en: {
    skip: "Skip to the content", nav: "Views", fleet: "Fleet", alarms: "Alarms", health: "Health", model: "Model", device: "Device",
    readOnly: "read-only", readOnlyWhy: "There are no users on this page, so nothing can be changed here.",
    journal_missing: "There is no journal yet", journal_damaged: "The journal is damaged",
    journal_unreadable: "The journal cannot be read", stale: "What is shown may be old. It goes on by itself.",
    lost: "No connection to the page's server. It is tried again.", newAlarm: "New alarm: {device}: {state}", close: "Close",
    zone: "Times are those of this browser ({zone}).", loading: "Loading", failed: "This could not be had: {why}", noServer: "the server does not answer",
    kind_fault: "Fault", kind_unknown: "Unknown", kind_silent: "No data", kind_normal: "Normal", kind_none: "No state yet",
    normal: "normal", unknown: "unknown", noData: "no data", none: "no state yet",
    filterKinds: "Show states", search: "Search devices", sortBy: "Sort by", sort_worst: "Worst first", sort_device: "Device",
    sort_state: "State", sort_since: "Since", sort_probability: "Probability", sort_sample: "Last sample",
    ascending: "Ascending", descending: "Descending", turn: "Turn the order round", caption: "Devices",
    state: "State", since: "Since", probability: "Probability", sample: "Last sample", range: "{from}–{to} of {n}",
    previous: "Previous page", next: "Next page", pages: "Pages", noneFound: "No device fits.", noDevices: "The journal has no devices yet.",
    open: "Open", past: "Past", noOpen: "No machine is in alarm.", noPast: "There are no alarms in the journal.", more: "Show older ones",
    until: "Until", lasts: "lasts", channels: "Moved by", answer: "Answer", unanswered: "none yet", duration: "Duration",
    confirmed: "confirmed", refuted: "false alarm", retracted: "taken back", itWas: "it was {fault}",
    now: "Now", what: "What moved the alarm", whatHelp: "What each channel added to the fault's log-probability.", unit: "Unit:",
    noChannels: "The journal does not say what moved it.", timeline: "Time line", span: "Span", hours6: "6 hours", day1: "1 day", days7: "7 days", days30: "30 days",
    earlier: "Earlier", later: "Later", newest: "Newest", untilDay: "Last day", verdicts: "{n} verdicts", noVerdicts: "No verdicts in this time.",
    thinned: "A point may stand for several verdicts: of a fault the highest of their probabilities, of normal the lowest.",
    alarmBand: "Band on top: alarm state. Band below: verdicts.", partly: "There was no time to read all of it: it ends at {time}. Choose a shorter span.",
    chartOf: "Class probabilities of {device} from {from} to {to}: {summary}", chartChannel: "Channel {channel} of {device} from {from} to {to}: {low} to {high}",
    raw: "Channels", rawHelp: "As they were received, around {time}.", around: "Around",
    choose: "Choose channels", most: "At most {n} channels at a time.", noSamples: "No samples in this time. Samples are kept for a shorter time than alarms where journal.max_bytes is small.",
    thinnedRaw: "{n} samples; the lowest and highest of each piece of time are drawn.", samplesN: "{n} samples", states: "States", show: "Channels then",
    answers: "Answers", noAnswers: "Nobody has answered yet.", whole: "a stretch of time", note: "Note", when: "When", noDevice: "There is no such device", back: "To the fleet",
    path: "File", size: "Size", newestSample: "Newest sample", devices: "Devices", silent: "Without data", journalState: "Journal", ok: "is read",
    rejected: "Rejected telemetry", rejectedHelp: "What could not be used, by reason, with the newest of each.", noRejected: "Nothing was rejected.", muted: "Muted devices",
    mutedHelp: "All samples of these have been late for a while: their clocks are wrong.", noMuted: "No device is muted.", late: "{n} samples late, the last of {heard}; it was at {newest} before",
    andMore: "and {n} more", salvaged: "A damaged journal was salvaged", topic: "Topic", modelHelp: "What rarefault inspect says of the model file that the configuration names. The cost of a verdict is measured now.",
    justNow: "just now", ahead: "{age} ahead", never: "never",
  },
  de: {
    skip: "Zum Inhalt", nav: "Ansichten", fleet: "Flotte", alarms: "Alarme", health: "Zustand", model: "Modell", device: "Gerät",
    readOnly: "nur lesen", readOnlyWhy: "Diese Seite hat keine Benutzer, deshalb kann hier nichts geändert werden.",
    journal_missing: "Es gibt noch kein Journal", journal_damaged: "Das Journal ist beschädigt",
    journal_unreadable: "Das Journal kann nicht gelesen werden", stale: "Was zu sehen ist, kann veraltet sein. Es geht von selbst weiter.",
    lost: "Keine Verbindung zum Server der Seite. Es wird weiter versucht.", newAlarm: "Neuer Alarm: {device}: {state}", close: "Schließen",
    zone: "Zeiten sind die dieses Browsers ({zone}).", loading: "Wird geladen", failed: "Das war nicht zu bekommen: {why}", noServer: "der Server antwortet nicht",
    kind_fault: "Störung", kind_unknown: "Unbekannt", kind_silent: "Keine Daten", kind_normal: "Normal", kind_none: "Noch kein Zustand",
    normal: "normal", unknown: "unbekannt", noData: "keine Daten", none: "noch kein Zustand",
    filterKinds: "Zustände zeigen", search: "Geräte suchen", sortBy: "Sortieren nach", sort_worst: "Schlimmste zuerst", sort_device: "Gerät",
    sort_state: "Zustand", sort_since: "Seit", sort_probability: "Wahrscheinlichkeit", sort_sample: "Letzter Messwert",
    ascending: "Aufsteigend", descending: "Absteigend", turn: "Reihenfolge umkehren", caption: "Geräte",
    state: "Zustand", since: "Seit", probability: "Wahrscheinlichkeit", sample: "Letzter Messwert", range: "{from}–{to} von {n}",
    previous: "Vorige Seite", next: "Nächste Seite", pages: "Seiten", noneFound: "Kein Gerät passt.", noDevices: "Das Journal hat noch keine Geräte.",
    open: "Offen", past: "Vergangen", noOpen: "Keine Maschine ist im Alarm.", noPast: "Im Journal sind keine Alarme.", more: "Ältere zeigen",
    until: "Bis", lasts: "dauert an", channels: "Bewegt von", answer: "Antwort", unanswered: "noch keine", duration: "Dauer",
    confirmed: "bestätigt", refuted: "Fehlalarm", retracted: "zurückgenommen", itWas: "es war {fault}",
    now: "Jetzt", what: "Was den Alarm bewegt hat", whatHelp: "Was jeder Kanal zur logarithmierten Wahrscheinlichkeit der Störung beitrug.", unit: "Einheit:",
    noChannels: "Das Journal sagt nicht, was ihn bewegt hat.", timeline: "Zeitverlauf", span: "Zeitraum", hours6: "6 Stunden", day1: "1 Tag", days7: "7 Tage", days30: "30 Tage",
    earlier: "Früher", later: "Später", newest: "Neueste", untilDay: "Letzter Tag", verdicts: "{n} Urteile", noVerdicts: "Keine Urteile in dieser Zeit.",
    thinned: "Ein Punkt kann für mehrere Urteile stehen: bei einer Störung mit der höchsten Wahrscheinlichkeit, bei normal mit der niedrigsten.",
    alarmBand: "Band oben: Alarmzustand. Band unten: Urteile.", partly: "Die Zeit reichte nicht für alles: es endet bei {time}. Bitte einen kürzeren Zeitraum wählen.",
    chartOf: "Wahrscheinlichkeiten der Klassen von {device} von {from} bis {to}: {summary}", chartChannel: "Kanal {channel} von {device} von {from} bis {to}: {low} bis {high}",
    raw: "Kanäle", rawHelp: "Wie sie empfangen wurden, um {time}.", around: "Umkreis",
    choose: "Kanäle wählen", most: "Höchstens {n} Kanäle zugleich.", noSamples: "Keine Messwerte in dieser Zeit. Messwerte bleiben kürzer als Alarme, wenn journal.max_bytes klein ist.",
    thinnedRaw: "{n} Messwerte; gezeichnet sind die niedrigsten und höchsten jedes Zeitstücks.", samplesN: "{n} Messwerte", states: "Zustände", show: "Kanäle dann",
    answers: "Antworten", noAnswers: "Noch hat niemand geantwortet.", whole: "ein Zeitraum", note: "Notiz", when: "Wann", noDevice: "Dieses Gerät gibt es nicht", back: "Zur Flotte",
    path: "Datei", size: "Größe", newestSample: "Neuester Messwert", devices: "Geräte", silent: "Ohne Daten", journalState: "Journal", ok: "wird gelesen",
    rejected: "Abgewiesene Telemetrie", rejectedHelp: "Was nicht zu gebrauchen war, nach Grund, mit dem Neuesten von jedem.", noRejected: "Nichts wurde abgewiesen.", muted: "Stumm geschaltete Geräte",
    mutedHelp: "Alle ihre Messwerte kamen seit einer Weile zu spät: ihre Uhren gehen falsch.", noMuted: "Kein Gerät ist stumm geschaltet.", late: "{n} Messwerte zu spät, der letzte von {heard}; davor war es bei {newest}",
    andMore: "und {n} weitere", salvaged: "Ein beschädigtes Journal wurde geborgen", topic: "Topic", modelHelp: "Was rarefault inspect über die Modelldatei der Konfiguration sagt (auf Englisch). Was ein Urteil kostet, wird jetzt gemessen.",
    justNow: "gerade eben", ahead: "{age} voraus", never: "nie",
  },
};

/** The first language of the browser that there is; English where there is none. */
export const language = navigator.languages.map((tag) => tag.toLowerCase().split("-")[0]).find((tag) => tag in TEXTS) ?? "en";

/** A text with its values in place. */
export function t(key, values = {}) {
  const text = TEXTS[language][key] ?? key;
  return text.replace(/\{(\w+)\}/g, (_, name) => String(values[name] ?? ""));
}
