"""Texts to an evaluated model with PyTorch and transformers. Runs in an environment of its own.

python text_torch_worker.py data.json WEIGHTS_FOLDER result.json --epochs 10 3 --length 128 --seed 0

The encoder as sentence-transformers uses it (the mean over tokens at unit length), dropout and a dense layer on top.
While it is frozen it runs without gradients, in every epoch; then its last two of six blocks train.
"""

import argparse
import copy
import json
import math
import os
import resource
import time

STARTED = time.perf_counter()
os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")

import numpy as np  # noqa: E402
import torch  # noqa: E402
from safetensors.torch import load_file  # noqa: E402
from transformers import BertConfig, BertModel, BertTokenizerFast  # noqa: E402

IMPORTED = time.perf_counter() - STARTED
BATCH, PIECES = 32, 30522


class Classifier(torch.nn.Module):
    """Encoder, mean over tokens, head."""

    def __init__(self, folder, classes):
        super().__init__()
        config = BertConfig(
            vocab_size=PIECES, hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536
        )
        self.encoder = BertModel(config, add_pooling_layer=False)
        self.encoder.load_state_dict(load_file(f"{folder}/model.safetensors"), strict=False)
        self.head = torch.nn.Sequential(torch.nn.Dropout(0.2), torch.nn.Linear(384, classes))

    def forward(self, pieces):
        hidden = self.encoder(**pieces).last_hidden_state
        mask = pieces["attention_mask"].unsqueeze(-1).float()
        mean = (hidden * mask).sum(1) / mask.sum(1)
        return self.head(torch.nn.functional.normalize(mean, dim=1))


def batches(part, order):
    """Pieces, padded to the longest of the batch, and classes."""
    for start in range(0, len(order), BATCH):
        chosen = order[start : start + BATCH]
        width = max(len(part["pieces"][i]) for i in chosen)
        ids = torch.zeros(len(chosen), width, dtype=torch.long)
        for row, i in enumerate(chosen):
            ids[row, : len(part["pieces"][i])] = torch.tensor(part["pieces"][i])
        yield {"input_ids": ids, "attention_mask": (ids > 0).long()}, torch.tensor([part["labels"][i] for i in chosen])


def judged(model, part):
    """Loss and accuracy on a part."""
    model.eval()
    loss = right = 0.0
    with torch.no_grad():
        for pieces, labels in batches(part, np.arange(len(part["labels"]))):
            logits = model(pieces)
            loss += torch.nn.functional.cross_entropy(logits, labels, reduction="sum").item()
            right += (logits.argmax(1) == labels).sum().item()
    return loss / len(part["labels"]), right / len(part["labels"])


def rate(step, steps, warmed):
    """Factor of the learning rate: constant, or warm-up and cosine as tlkit's second phase has it."""
    if not warmed:
        return 1.0
    warmup = round(0.1 * steps)
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def trained(model, parts, epochs, lr, blocks, rng, best):
    """One phase; gives the best (validation loss, weights)."""
    for name, parameter in model.named_parameters():
        inside = any(f"encoder.encoder.layer.{number}." in name for number in blocks)
        parameter.requires_grad = name.startswith("head") or inside
    moving = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(moving, lr=lr)
    steps = epochs * -(-len(parts["train"]["labels"]) // BATCH)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate(step, steps, bool(blocks)))
    for _ in range(epochs):
        model.encoder.eval()  # without dropout, as tlkit trains a module
        model.head.train()
        for pieces, labels in batches(parts["train"], rng.permutation(len(parts["train"]["labels"]))):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(pieces), labels).backward()
            optimizer.step()
            schedule.step()
        loss, _ = judged(model, parts["val"])
        if best is None or loss < best[0]:
            best = loss, copy.deepcopy(model.state_dict())
    return best


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("data")
    parser.add_argument("weights")
    parser.add_argument("result")
    parser.add_argument("--epochs", type=int, nargs=2, default=(10, 3))
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    with open(args.data) as file:
        parts = json.load(file)
    torch.manual_seed(args.seed)
    rng = np.random.default_rng(args.seed)

    seconds, started, imported_cpu = {"import": IMPORTED}, time.perf_counter(), time.process_time()
    tokenizer = BertTokenizerFast(vocab=f"{args.weights}/vocab.txt")
    assert len(tokenizer) == PIECES, "transformers did not read the vocabulary: each word would be unknown"
    for part in parts.values():
        part["pieces"] = tokenizer(part["texts"], truncation=True, max_length=args.length)["input_ids"]
    model = Classifier(args.weights, 2)
    seconds["data and module"] = time.perf_counter() - started
    started = time.perf_counter()
    best = trained(model, parts, args.epochs[0], 3e-3, (), rng, None)
    seconds["frozen"] = time.perf_counter() - started
    started = time.perf_counter()
    model.load_state_dict(best[1])
    best = trained(model, parts, args.epochs[1], 1e-4, (4, 5), rng, best)
    seconds["unfrozen"] = time.perf_counter() - started
    started = time.perf_counter()
    model.load_state_dict(best[1])
    _, accuracy = judged(model, parts["test"])
    seconds["evaluate"] = time.perf_counter() - started
    cpu = time.process_time() - imported_cpu
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    with open(args.result, "w") as file:
        record = {"accuracy": accuracy, "seconds": seconds, "cpu_seconds": cpu, "peak_memory_mb": memory}
        json.dump(record, file)


if __name__ == "__main__":
    main()
