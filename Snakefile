# spikeproof: compressed spiking neural networks, from pixels to proven Verilog.
#
#   prepare -> pretrain -> quantize -> prune -> evaluate -> export -> generate -> simulate -> synthesize -> bundle, report
#   analyze -> report
#
# `snakemake --cores all` runs the study named in config/config.yaml (default: "default").
# `snakemake --cores all --config study=smoke` runs another one of config/studies/.
from snakemake.utils import min_version

min_version("9.0")


configfile: "config/config.yaml"


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/hardware.smk"
include: "workflow/rules/report.smk"


rule all:
    default_target: True
    input:
        f"results/{STUDY}/report.html",
        f"results/{STUDY}/summary.csv",
        [run.bundle for run in RUNS if run.hardware and not run.is_float],
