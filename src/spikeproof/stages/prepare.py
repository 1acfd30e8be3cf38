"""Read a dataset, encode it as integer input codes and split it.

Writes one safetensors file with its digest; later stages refuse it if it was altered.
"""


def add_arguments(parser, json_argument):
    parser.add_argument("--config", type=json_argument, required=True, help="dataset entry, JSON or a file of it")
    parser.add_argument("--out", required=True, help="prepared data, .safetensors")


def run(args, stage):
    from ..datasets.base import save_prepared
    from ..model_files import make
    data = make("datasets", args.config).prepare()
    save_prepared(args.out, data)
    stage.say(f"{data.about['images']} images, {data.about['split']}")
