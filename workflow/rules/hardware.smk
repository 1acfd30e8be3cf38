# From integers to Verilog, its proof and its resources.
HARDWARE = CONFIG.hardware
SIMULATED_IMAGES = (
    f"--images {STUDY_OPTIONS.simulated_images}"
    if STUDY_OPTIONS.simulated_images
    else ""
)


rule generate:
    input:
        network=rules.export.output.network,
    output:
        directory(f"{FOLDER}/core"),
    log:
        log_of("generate", FOLDER),
    conda:
        "../../environment.yml"
    resources:
        mem_mb=growing(2000),
        runtime=growing(60),
    params:
        lanes=HARDWARE.lanes,
        updaters=HARDWARE.updaters,
        fold=HARDWARE.fold,
        code=code_of("generate"),
        label=label,
    shell:
        "python -m spikeproof generate --label {params.label} --log {log} --network {input.network} "
        "--lanes {params.lanes} --updaters {params.updaters} --fold {params.fold} --out {output}"


rule simulate:
    input:
        data=rules.prepare.output,
        network=rules.export.output.network,
        rtl=rules.generate.output,
    output:
        report(
            f"{FOLDER}/equivalence.json",
            category="Proofs",
            labels={
                "network": "{architecture} {neuron}",
                "quantizer": "{quantizer}",
                "pruner": "{pruner}",
                "seed": "{seed}",
            },
        ),
    log:
        log_of("simulate", FOLDER),
    conda:
        "../../environment.yml"
    threads: 2
    resources:
        mem_mb=growing(4000),
        runtime=growing(240),
    params:
        images=SIMULATED_IMAGES,
        code=code_of("simulate"),
        label=label,
    shell:
        "python -m spikeproof simulate --label {params.label} --log {log} --network {input.network} --rtl {input.rtl} "
        "--data {input.data} {params.images} --threads {threads} --out {output}"


rule synthesize:
    input:
        rtl=rules.generate.output,
    output:
        f"{FOLDER}/synthesis.json",
    log:
        log_of("synthesize", FOLDER),
    conda:
        "../../environment.yml"
    resources:
        mem_mb=growing(4000),
        runtime=growing(240),
    params:
        device=HARDWARE.device,
        seed=HARDWARE.placer_seed,
        target=HARDWARE.target_mhz,
        code=code_of("synthesize"),
        label=label,
    shell:
        "python -m spikeproof synthesize --label {params.label} --log {log} --rtl {input.rtl} --device {params.device} "
        "--placer-seed {params.seed} --target-mhz {params.target} --out {output}"


rule bundle:
    input:
        data=rules.prepare.output,
        network=rules.export.output.network,
        rtl=rules.generate.output,
        equivalence=rules.simulate.output,
        synthesis=rules.synthesize.output,
    output:
        directory(f"{FOLDER}/rtl"),
    log:
        log_of("bundle", FOLDER),
    conda:
        "../../environment.yml"
    threads: 2
    resources:
        mem_mb=growing(4000),
        runtime=growing(120),
    params:
        images=HARDWARE.bundle_images,
        code=code_of("bundle"),
        label=label,
    shell:
        "python -m spikeproof bundle --label {params.label} --log {log} --network {input.network} --rtl {input.rtl} "
        "--data {input.data} --equivalence {input.equivalence} --synthesis {input.synthesis} "
        "--images {params.images} --out {output}"
