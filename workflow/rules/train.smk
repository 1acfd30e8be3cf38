# From data to a compressed network with its accuracy and its integers.


rule prepare:
    output:
        "results/data/{dataset}.safetensors",
    log:
        "results/logs/prepare/{dataset}.log",
    # What is missing shows before anything is trained.
    priority: 1
    conda:
        "../../environment.yml"
    threads: 2
    resources:
        mem_mb=growing(6000),
        runtime=growing(120),
    params:
        config=entry("datasets", "dataset"),
        limit="--limit 16" if SMOKE else "",
        code=code_of("prepare", "datasets"),
        label=label,
    shell:
        "python -m spikeproof prepare --label {params.label} --log {log} --threads {threads} --config {params.config:q} "
        "{params.limit} --out {output}"


rule pretrain:
    input:
        data=rules.prepare.output,
    output:
        model=f"{BASE}/pretrain.safetensors",
        history=f"{BASE}/pretrain.json",
    log:
        log_of("pretrain", BASE),
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=growing(4000),
        runtime=growing(480),
        gpu=GPU,
    params:
        config=entries("architectures", "neurons", "pretraining"),
        code=code_of("pretrain", "architectures", "neurons", "pretraining"),
        checkpoint=checkpoint,
        label=label,
    shell:
        "python -m spikeproof pretrain --label {params.label} --log {log} --threads {threads} --data {input.data} "
        "--config {params.config:q} --seed {wildcards.seed} --checkpoint {params.checkpoint} "
        "--out {output.model} --history {output.history}"


rule quantize:
    input:
        data=rules.prepare.output,
        model=rules.pretrain.output.model,
    output:
        model=f"{QUANTIZED}/quantize.safetensors",
        history=f"{QUANTIZED}/quantize.json",
    log:
        log_of("quantize", QUANTIZED),
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=growing(4000),
        runtime=growing(480),
        gpu=GPU,
    params:
        config=entry("quantizers", "quantizer"),
        code=code_of(
            "quantize", "architectures", "neurons", "pretraining", "quantizers"
        ),
        checkpoint=checkpoint,
        label=label,
    shell:
        "python -m spikeproof quantize --label {params.label} --log {log} --threads {threads} --data {input.data} "
        "--model {input.model} --config {params.config:q} --seed {wildcards.seed} --checkpoint {params.checkpoint} "
        "--out {output.model} --history {output.history}"


rule prune:
    input:
        data=rules.prepare.output,
        model=rules.quantize.output.model,
    output:
        model=f"{FOLDER}/prune.safetensors",
        history=f"{FOLDER}/prune.json",
    log:
        log_of("prune", FOLDER),
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=growing(4000),
        runtime=growing(480),
        gpu=GPU,
    params:
        config=entry("pruners", "pruner"),
        code=code_of("prune", *CHAIN),
        checkpoint=checkpoint,
        label=label,
    shell:
        "python -m spikeproof prune --label {params.label} --log {log} --threads {threads} --data {input.data} "
        "--model {input.model} --config {params.config:q} --seed {wildcards.seed} --checkpoint {params.checkpoint} "
        "--out {output.model} --history {output.history}"


rule evaluate:
    input:
        data=rules.prepare.output,
        float_model=rules.pretrain.output.model,
        model=final_model,
    output:
        f"{FOLDER}/evaluate.json",
    log:
        log_of("evaluate", FOLDER),
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=growing(4000),
        runtime=growing(120),
    params:
        code=code_of("evaluate", *CHAIN),
        label=label,
    shell:
        "python -m spikeproof evaluate --label {params.label} --log {log} --threads {threads} --data {input.data} "
        "--float-model {input.float_model} --model {input.model} --out {output}"


rule export:
    input:
        data=rules.prepare.output,
        model=final_model,
    output:
        network=f"{FOLDER}/network.safetensors",
        result=f"{FOLDER}/export.json",
    log:
        log_of("export", FOLDER),
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=growing(4000),
        runtime=growing(120),
    params:
        code=code_of("export", *CHAIN),
        label=label,
    shell:
        "python -m spikeproof export --label {params.label} --log {log} --threads {threads} --data {input.data} "
        "--model {input.model} --out {output.network} --result {output.result}"
