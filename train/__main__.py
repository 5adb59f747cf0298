"""python -m train VERB: everything the training side does, one verb each."""

import argparse
import sys

from exprgan.__main__ import run_verb

from .config import TrainConfig
from .eval.report import evaluate
from .facenet import FaceConfig, fit_face
from .flags import add_flags, typed
from .loop import fit
from .publish import publish


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m train", description=__doc__)
    verbs = parser.add_subparsers(required=True, metavar="VERB")

    facenet = verbs.add_parser("facenet", help="train the face network of the identity loss, and the classifier")
    facenet.add_argument("data", help="folder with metadata.csv")
    add_flags(facenet, FaceConfig)
    facenet.set_defaults(run=lambda args: fit_face(args.data, FaceConfig(**typed(args, FaceConfig))))

    fitting = verbs.add_parser("fit", help="train ExprGAN: the three stages, or some of them")
    fitting.add_argument("data", help="folder with metadata.csv")
    add_flags(fitting, TrainConfig)
    fitting.set_defaults(run=lambda args: fit(args.data, TrainConfig(**typed(args, TrainConfig))))

    publishing = verbs.add_parser("publish", help="turn a run into the folder that the Hub and the app read")
    publishing.add_argument("run_folder", metavar="RUN", help="folder of a `fit` run")
    publishing.add_argument("--out", default="weights", help="folder to write (default: weights)")
    publishing.set_defaults(run=lambda args: publish(args.run_folder, args.out))

    evaluating = verbs.add_parser("evaluate", help="measure published weights on held-out people")
    evaluating.add_argument("weights", help="a folder that `publish` wrote")
    evaluating.add_argument("--data", required=True, help="folder with metadata.csv")
    evaluating.add_argument("--sheets", default="", help="folder for two sheets of edited faces")
    evaluating.set_defaults(run=lambda args: evaluate(args.weights, args.data, args.sheets))
    return parser


def main(argv: list[str] | None = None) -> int:
    """The command line of the training side; returns the exit status."""
    return run_verb(_parser(), argv)


if __name__ == "__main__":
    sys.exit(main())
