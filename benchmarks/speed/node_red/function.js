// The function node: a history per device, the whole sequence through the model for every verdict.
const [LENGTH, SEQUENCE, PERIOD] = [24, 20, 60000];
const CLASSES = ["normal", "fault_1", "fault_2", "fault_3", "fault_4", "fault_5", "fault_6"];
const stride = Number(env.get("STRIDE"));
const bins = LENGTH + (SEQUENCE - 1) * stride;
const ort = global.get("ort");

let histories = context.get("histories");
if (!histories) {
    histories = new Map();
    context.set("histories", histories);
    context.set("session", ort.InferenceSession.create(env.get("MODEL"), { intraOpNumThreads: 1 }));
}
const device = msg.topic.split("/")[1];
const sample = msg.payload;
let history = histories.get(device);
if (!history) histories.set(device, (history = []));
history.push(Object.values(sample.values));
if (history.length > bins) history.shift();
const number = Math.floor(sample.time / PERIOD);
if (history.length < bins || number % stride) return null;

const channels = history[0].length;
const windows = new (global.get("Float32Array"))(SEQUENCE * LENGTH * channels);
let at = 0;
for (let t = 0; t < SEQUENCE; t++)
    for (let l = 0; l < LENGTH; l++)
        for (const value of history[t * stride + l]) windows[at++] = value;
const session = await context.get("session");
const out = await session.run({ windows: new ort.Tensor("float32", windows, [1, SEQUENCE, LENGTH, channels]) });
const last = Array.from(out.log_prob.data.slice(-CLASSES.length), Math.exp);
const best = last.indexOf(Math.max(...last));
return {
    topic: `rarefault/${device}/verdict`,
    payload: {
        device,
        end: number * PERIOD,
        fault: CLASSES[best],
        probability: last[best],
        probabilities: Object.fromEntries(CLASSES.map((name, i) => [name, last[i]])),
    },
};
