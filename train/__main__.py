"""python -m train VERB: everything the training side does, one verb each."""

import argparse
import sys
from collections.abc import Callable
from functools import partial

from exprgan.cli import run_verb

from .core.config_flags import add_flags, typed
from .data.photo_sources import SOURCES
from .data.prepare import PrepareConfig, prepare
from .data.validation import check
from .eval.calibration import calibrate
from .eval.evaluate import evaluate
from .eval.reference_training import ReferenceConfig, train_reference
from .gan.dry_run import plan
from .gan.gan_trainer import fit
from .gan.train_config import SIX, TrainConfig, names_of
from .paper.figures import FIGURES, draw_figures
from .paper.reproduce import ReproduceConfig, reproduce
from .paper.synthetic_set import SyntheticConfig, make_set
from .paper.table1 import Table1Config, table1
from .perceptual.face_trainer import FaceTrainConfig, train_face_network
from .publish.credits import write_credits
from .publish.hub_upload import HubConfig, data_folder
from .publish.publish_dataset import publish_data
from .publish.publish_weights import publish
from .publish.space import SpaceConfig, deploy_space
from .render.face_model.ict_facekit import prepare_mesh
from .render.manifest_layouts import LAYOUTS, make_manifest
from .render.render_config import RenderConfig, render
from .render.virtual_people import VirtualConfig, make_virtual
from .warp.warp_trainer import WarpTrainConfig, train_warp

MESH = "mesh"
"""What `prepare` makes beside training folders."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m train", description=__doc__)
    verbs = parser.add_subparsers(required=True, metavar="VERB")

    preparing = verbs.add_parser(
        "prepare", help="make a training folder of a data set or of your own photos (docs/data.md)"
    )
    preparing.add_argument("source", metavar="SOURCE", choices=[*SOURCES, MESH], help=f"{', '.join(SOURCES)}; or {MESH}: "
                           "OUT is then a file for `render`, made of ICT-FaceKit's .obj files")  # fmt: skip
    preparing.add_argument("photos", metavar="SRC", help="folder of the photos, as the source unpacks")
    preparing.add_argument("folder", metavar="OUT", help="folder to write; what a stopped run wrote there is kept")
    add_flags(preparing, PrepareConfig)
    preparing.set_defaults(run=_prepare)

    checking = verbs.add_parser("check", help="say all that is wrong with a training folder, or what is in it")
    checking.add_argument("data", help="folder with metadata.csv")
    checking.add_argument("--expressions", default=SIX, help="names of the K expressions, separated by commas")
    checking.set_defaults(run=lambda args: check(args.data, names_of(args.expressions)))

    facenet = verbs.add_parser("facenet", help="train the face network of the identity loss, and the classifier")
    facenet.add_argument("data", help="folder with metadata.csv")
    add_flags(facenet, FaceTrainConfig)
    facenet.set_defaults(run=lambda args: train_face_network(args.data, FaceTrainConfig(**typed(args, FaceTrainConfig))))

    fitting = verbs.add_parser("fit", help="train ExprGAN: the three stages, or some of them")
    fitting.add_argument("data", help="folder with metadata.csv")
    add_flags(fitting, TrainConfig)
    fitting.add_argument("--dry-run", action="store_true", help="print what would be done, as JSON, and stop")
    fitting.set_defaults(run=_fit)

    publishing = verbs.add_parser("publish", help="turn a run into the folder that the Hub and the app read, and send it")
    publishing.add_argument("run_folder", metavar="RUN", help="folder of a `fit` run, or one that `publish` wrote")
    publishing.add_argument("--out", default="weights", help="folder to write (default: weights)")
    publishing.add_argument("--data", default="", help="what it was trained on: its hash and credit lines are written down")
    add_flags(publishing, HubConfig)
    publishing.set_defaults(
        run=lambda args: publish(args.run_folder, args.out, args.data, HubConfig(**typed(args, HubConfig)))
    )

    giving = verbs.add_parser("publish-data", help="send a training folder to the Hub; verbs take its org/name as DATA")
    giving.add_argument("data", help="folder with metadata.csv")
    add_flags(giving, HubConfig)
    giving.set_defaults(run=lambda args: publish_data(args.data, HubConfig(**typed(args, HubConfig))))

    deploying = verbs.add_parser("deploy-space", help="send the app to the Hub as a Space")
    deploying.add_argument("space", metavar="ORG/NAME", help="the Space, made if it is not there yet")
    add_flags(deploying, SpaceConfig)
    deploying.set_defaults(run=lambda args: deploy_space(args.space, SpaceConfig(**typed(args, SpaceConfig))))

    detailing = verbs.add_parser("detail", help="train T, which carries edits over to a photo's own pixels, into weights")
    detailing.add_argument("pairs", metavar="PAIRS", help="a folder that `render --no-jitter --flow` wrote")
    detailing.add_argument("--weights", required=True, help="a folder that `publish` wrote; T is put into it")
    add_flags(detailing, WarpTrainConfig)
    detailing.set_defaults(
        run=lambda args: train_warp(args.pairs, args.weights, WarpTrainConfig(**typed(args, WarpTrainConfig)))
    )

    calibrating = verbs.add_parser("calibrate", help="make published weights' slider even, and its full edits strong")
    calibrating.add_argument("weights", help="a folder that `publish` wrote; its config.json is rewritten")
    calibrating.add_argument("--data", required=True, help="folder with metadata.csv, with known intensities")
    calibrating.add_argument("--people", type=int, default=24, help="how many people are edited for it")
    calibrating.set_defaults(run=lambda args: calibrate(args.weights, args.data, args.people))

    judging = verbs.add_parser("judge", help="train the independent judge of `evaluate`, on a set's own pictures alone")
    judging.add_argument("data", help="folder with metadata.csv")
    add_flags(judging, ReferenceConfig)
    judging.set_defaults(run=lambda args: train_reference(args.data, ReferenceConfig(**typed(args, ReferenceConfig))))

    evaluating = verbs.add_parser("evaluate", help="measure published weights on held-out people")
    evaluating.add_argument("weights", help="a folder that `publish` wrote")
    evaluating.add_argument("--data", required=True, help="folder with metadata.csv")
    evaluating.add_argument("--sheets", default="", help="folder for four sheets of edited faces")
    evaluating.add_argument("--judge", default="", help="the independent judge (default: WEIGHTS/judge.safetensors)")
    evaluating.add_argument("--fold", type=int, help="the fold of metadata.csv that was held out in training")
    evaluating.set_defaults(run=lambda args: evaluate(args.weights, args.data, args.sheets, args.fold, args.judge))

    stating = verbs.add_parser("manifest", help="write the manifest of a folder of photos: whose they are, on what terms")
    stating.add_argument("layout", metavar="LAYOUT", choices=LAYOUTS, help="webmorph, or own: to be filled in by hand")
    stating.add_argument("photos", metavar="PHOTOS", help="folder of the photos")
    stating.add_argument("--out", default="", help="file to write, sources.csv beside it (default: PHOTOS/manifest.csv)")
    stating.set_defaults(run=lambda args: make_manifest(args.layout, args.photos, args.out))

    rendering = verbs.add_parser("render", help="a training folder of neutral photos, by action units (docs/render.md)")
    add_flags(rendering, RenderConfig)
    rendering.set_defaults(run=lambda args: render(RenderConfig(**typed(args, RenderConfig))))

    crediting = verbs.add_parser("credits", help="list whose pictures a set descends from, for CREDITS.md")
    crediting.add_argument("places", metavar="FOLDER", nargs="+", help="with sources.csv: of photos, or a training folder")
    crediting.add_argument("--out", default="", help="file to write it in, between two marked lines (default: print it)")
    crediting.set_defaults(run=lambda args: write_credits(args.places, args.out))

    mixing = verbs.add_parser("virtual", help="make new people, each mixed from two of a folder of photos with a manifest")
    add_flags(mixing, VirtualConfig)
    mixing.set_defaults(run=lambda args: make_virtual(VirtualConfig(**typed(args, VirtualConfig))))

    making = verbs.add_parser("augment", help="make a labelled synthetic set of any size")
    making.add_argument("weights", help="a folder that `publish` wrote")
    making.add_argument("--data", default="", help="the training folder, needed for --kind edits")
    add_flags(making, SyntheticConfig)
    making.set_defaults(run=lambda args: make_set(args.weights, SyntheticConfig(**typed(args, SyntheticConfig)), args.data))

    table = verbs.add_parser("table1", help="train classifiers with and without synthetic pictures: the paper's Table 1")
    table.add_argument("weights", help="a folder that `publish` wrote; says how large the classifier is")
    table.add_argument("--data", required=True, help="folder with metadata.csv, of real pictures")
    table.add_argument("--sets", required=True, help="a folder that `augment` wrote")
    add_flags(table, Table1Config)
    table.set_defaults(
        run=lambda args: table1(args.weights, args.data, args.sets, Table1Config(**typed(args, Table1Config)))
    )

    drawing = verbs.add_parser("figures", help="draw the paper's Figures 2 to 7")
    drawing.add_argument("numbers", metavar="N", type=int, nargs="*", help=f"of {', '.join(map(str, FIGURES))}; none: all")
    drawing.add_argument("--weights", required=True, help="a folder that `publish` wrote")
    drawing.add_argument("--data", required=True, help="folder with metadata.csv")
    drawing.add_argument("--out", default="docs/figures", help="folder to write (default: docs/figures)")
    drawing.add_argument("--caae", default="", help="published weights of a `fit --recipe caae` run, for Figure 2")
    drawing.set_defaults(run=lambda args: draw_figures(args.numbers, args.weights, args.data, args.out, args.caae))

    whole = verbs.add_parser("reproduce", help="the whole paper: all of the above in order, and a report")
    whole.add_argument("source", choices=SOURCES, help="oulu, another source of `prepare`, or folder: prepared already")
    whole.add_argument("photos", metavar="SRC", help="folder of the photos; of source folder, one with metadata.csv")
    whole.add_argument("folder", metavar="OUT", help="folder to write; what is finished there is not done again")
    add_flags(whole, ReproduceConfig)
    whole.set_defaults(
        run=lambda args: reproduce(
            args.source,
            data_folder(args.photos) if args.source == "folder" else args.photos,
            args.folder,
            ReproduceConfig(**typed(args, ReproduceConfig)),
        )
    )
    for verb in verbs.choices.values():
        verb.set_defaults(run=partial(_with_data, verb.get_default("run")))
    return parser


def _with_data(run: Callable[[argparse.Namespace], None], args: argparse.Namespace) -> None:
    """Runs a verb; its DATA may be the name of a data set on the Hub."""
    if hasattr(args, "data"):
        args.data = data_folder(args.data)
    run(args)


def _prepare(args: argparse.Namespace) -> None:
    options = typed(args, PrepareConfig)
    if args.source == MESH:
        if options:
            raise ValueError(f"prepare {MESH} takes no options, but {' and '.join(options)} was given; leave it out")
        prepare_mesh(args.photos, args.folder)
    else:
        prepare(args.source, args.photos, args.folder, PrepareConfig(**options))


def _fit(args: argparse.Namespace) -> None:
    config = TrainConfig.of(**typed(args, TrainConfig))
    plan(args.data, config) if args.dry_run else fit(args.data, config)


def main(argv: list[str] | None = None) -> int:
    """The command line of the training side; returns the exit status."""
    return run_verb(_parser(), argv)


if __name__ == "__main__":
    sys.exit(main())
