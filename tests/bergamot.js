// Translates lines of standard input with Bergamot's build of Marian, one by one.
//
// node bergamot.js FOLDER MODEL SOURCE_VOCABULARY TARGET_VOCABULARY SHORTLIST|- PRECISION
//
// FOLDER has node_modules with @browsermt/bergamot-translator. The package is made for workers of browsers: it is
// given what it looks for there, and its own kernels in place of those of Firefox.

const fs = require("fs");
const path = require("path");
const vm = require("vm");

const [folder, model, source, target, shortlist, precision] = process.argv.slice(2);
const worker = path.join(folder, "node_modules/@browsermt/bergamot-translator/worker");

const kernels = [
  "int8_prepare_a",
  "int8_prepare_b",
  "int8_prepare_b_from_transposed",
  "int8_prepare_b_from_quantized_transposed",
  "int8_prepare_bias",
  "int8_multiply_and_add_bias",
  "int8_select_columns_of_b",
];

function exportedName(kernel) {
  return kernel.replace(/_([a-z])/g, (_, letter) => letter.toUpperCase()) + "Fallback";
}

function instantiateWasm(imports, accept) {
  const gemm = {};
  for (const kernel of kernels) {
    gemm[kernel] = (...values) => Module.asm[exportedName(kernel)](...values);
  }
  const bytes = fs.readFileSync(path.join(worker, "bergamot-translator-worker.wasm"));
  WebAssembly.instantiate(bytes, { ...imports, wasm_gemm: gemm }).then(({ instance }) => accept(instance));
  return {};
}

function inMemory(file, alignment) {
  const bytes = file === "-" ? Buffer.alloc(0) : fs.readFileSync(file);
  const memory = new Module.AlignedMemory(bytes.length, alignment);
  if (bytes.length) memory.getByteArrayView().set(bytes);
  return memory;
}

function translate() {
  const service = new Module.BlockingService({ cacheSize: 0 });
  const vocabularies = new Module.AlignedMemoryList();
  for (const file of source === target ? [source] : [source, target]) vocabularies.push_back(inMemory(file, 64));
  const settings = {
    "beam-size": 1,
    normalize: 1.0,
    "word-penalty": 0,
    "cpu-threads": 0,
    "gemm-precision": precision,
    "skip-cost": false,
    alignment: "none",
    quiet: true,
    "quiet-translation": true,
    "max-length-break": 512,
    "mini-batch-words": 1024,
    workspace: 128,
    "max-length-factor": 2.0,
  };
  const text = Object.entries(settings).map(([key, value]) => `${key}: ${value}\n`).join("");
  const files = [inMemory(model, 256), inMemory(shortlist, 64), vocabularies, null];
  const translator = new Module.TranslationModel(text, ...files);
  for (const line of fs.readFileSync(0, "utf8").split("\n").filter((one) => one.length)) {
    const input = new Module.VectorString();
    input.push_back(line);
    const options = new Module.VectorResponseOptions();
    options.push_back({ alignment: false, html: false, qualityScores: false });
    console.log(service.translate(translator, input, options).get(0).getTranslatedText());
  }
}

global.Module = { instantiateWasm, onRuntimeInitialized: translate, printErr: (text) => console.error(text) };
global.self = global;
global.location = { href: "file:///" };
global.importScripts = () => {};
vm.runInThisContext(fs.readFileSync(path.join(worker, "bergamot-translator-worker.js"), "utf8"));
