// A Node-RED of its own, without editor, on loopback; the function node finds ONNX Runtime under "ort".
module.exports = {
    uiHost: "127.0.0.1",
    uiPort: Number(process.env.UI_PORT),
    httpAdminRoot: false,
    httpNodeRoot: false,
    // A function node has a Float32Array of its own kind, which ONNX Runtime does not take.
    functionGlobalContext: { ort: require("onnxruntime-node"), Float32Array },
    functionExternalModules: false,
    logging: { console: { level: "warn" } },
};
