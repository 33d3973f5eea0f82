"""ADAPT's side of instance_weighting.py, run by the Python of its own environment: a folder of .npz cases -> JSON."""

import argparse
import json
import time
import warnings
from pathlib import Path

import numpy as np
from adapt.instance_based import KMM, TrAdaBoost, TrAdaBoostR2
from sklearn.linear_model import LogisticRegression, Ridge

LEARNER = {"max_iter": 2000}


def matched(case: dict, **options) -> dict:
    """KMM's weights and the seconds they took."""
    started = time.perf_counter()
    model = KMM(LogisticRegression(**LEARNER), Xt=case["target_x"], kernel="rbf", verbose=0, random_state=0, **options)
    weights = np.asarray(model.fit_weights(case["source_x"], case["target_x"])).ravel()
    return {"seconds": time.perf_counter() - started, "weights": weights.tolist()}


def boosted(case: dict) -> dict:
    """Predictions of TrAdaBoost on the test rows, and its seconds."""
    values = case["source_y"].dtype.kind == "f"
    learner = Ridge() if values else LogisticRegression(**LEARNER)
    method = TrAdaBoostR2 if values else TrAdaBoost
    started = time.perf_counter()
    model = method(learner, n_estimators=10, Xt=case["target_x"], yt=case["target_y"], random_state=0, verbose=0)
    model.fit(case["source_x"], case["source_y"])
    predicted = np.ravel(model.predict(case["test_x"]))
    return {"seconds": time.perf_counter() - started, "predicted": predicted.tolist()}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    outcomes = {}
    for path in sorted(args.folder.glob("*.npz")):
        case = dict(np.load(path))
        if path.stem.startswith("kmm"):
            same_kernel = {"gamma": float(case["gamma"]), "B": float(case["bound"])}
            outcomes[path.stem] = {"adapt": matched(case), "adapt_same_kernel": matched(case, **same_kernel)}
        else:
            outcomes[path.stem] = {"adapt": boosted(case)}
    args.out.write_text(json.dumps(outcomes))


if __name__ == "__main__":
    main()
