# spikeproof: compressed spiking neural networks, from pixels to proven Verilog.
#
#   prepare -> pretrain -> quantize -> prune -> evaluate -> export -> generate -> simulate -> synthesize -> bundle, report
#   analyze -> report
#
# `snakemake --cores all` runs the study named in config/config.yaml (default: "default").
# `snakemake --cores all --config study=smoke` runs another one of config/studies/.
# `snakemake --cores all --config grid=digits_bits` runs one of config/grids/: many settings of one network, in batches.
from snakemake.utils import min_version

min_version("9.0")


configfile: "config/config.yaml"


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/hardware.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/grid.smk"


rule all:
    default_target: True
    input:
        rules.grid.output if GRID else rules.report_study.output,
        [run.bundle for run in RUNS if run.hardware and not run.is_float and not GRID],


onstart:
    redate("results")
    if GRID:
        watch_grid(Progress(GRID_NAME, GRID))


onsuccess:
    if GRID:
        print(Progress(GRID_NAME, GRID).line(final=True), file=sys.stderr)


onerror:
    FAILURES = []
    if GRID:
        PROGRESS = Progress(GRID_NAME, GRID)
        FAILURES = PROGRESS.failures()
        print(PROGRESS.line(final=True), *FAILURES, sep="\n", file=sys.stderr)
    print(
        "What finished is kept: run the same command again when the cause is mended.",
        file=sys.stderr,
    )
    if not FAILURES:
        print(
            "A job that died of SIGKILL (or 137) without a sentence of its own was killed by the system, mostly for lack of memory: "
            "try --cores 1, or on a cluster --set-resources RULE:mem_mb=...",
            file=sys.stderr,
        )
