# From data to a compressed network with its accuracy and its integers.


rule prepare:
    output:
        "results/data/{dataset}.safetensors",
    params:
        config=entry("datasets", "dataset"),
        code=code_of("prepare", "datasets"),
        label=label,
    log:
        "results/logs/prepare/{dataset}.log",
    conda:
        "../../environment.yml"
    shell:
        "python -m spikeproof prepare --label {params.label} --log {log} --config {params.config:q} --out {output}"


rule pretrain:
    input:
        data=rules.prepare.output,
    output:
        model=BASE + "/pretrain.safetensors",
        history=BASE + "/pretrain.json",
    params:
        config=entries("architectures", "neurons", "pretraining"),
        code=code_of("pretrain", "architectures", "neurons", "pretraining"),
        checkpoint=lambda w: f"scratch/{'.'.join(w)}.safetensors",
        label=label,
    log:
        BASE.replace("models", "logs/pretrain", 1) + ".log",
    conda:
        "../../environment.yml"
    threads: 1
    shell:
        "python -m spikeproof pretrain --label {params.label} --log {log} --threads {threads} --data {input.data} "
        "--config {params.config:q} --seed {wildcards.seed} --checkpoint {params.checkpoint} "
        "--out {output.model} --history {output.history}"


rule quantize:
    input:
        data=rules.prepare.output,
        model=rules.pretrain.output.model,
    output:
        model=QUANTIZED + "/quantize.safetensors",
        history=QUANTIZED + "/quantize.json",
    params:
        config=entry("quantizers", "quantizer"),
        code=code_of("quantize", "architectures", "neurons", "quantizers"),
        checkpoint=lambda w: f"scratch/{'.'.join(w)}.safetensors",
        label=label,
    log:
        QUANTIZED.replace("models", "logs/quantize", 1) + ".log",
    conda:
        "../../environment.yml"
    threads: 1
    shell:
        "python -m spikeproof quantize --label {params.label} --log {log} --threads {threads} --data {input.data} "
        "--model {input.model} --config {params.config:q} --seed {wildcards.seed} --checkpoint {params.checkpoint} "
        "--out {output.model} --history {output.history}"


rule prune:
    input:
        data=rules.prepare.output,
        model=rules.quantize.output.model,
    output:
        model=FOLDER + "/prune.safetensors",
        history=FOLDER + "/prune.json",
    params:
        config=entry("pruners", "pruner"),
        code=code_of("prune", *CHAIN),
        checkpoint=lambda w: f"scratch/{'.'.join(w)}.safetensors",
        label=label,
    log:
        FOLDER.replace("models", "logs/prune", 1) + ".log",
    conda:
        "../../environment.yml"
    threads: 1
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
        FOLDER + "/evaluate.json",
    params:
        code=code_of("evaluate", *CHAIN),
        label=label,
    log:
        FOLDER.replace("models", "logs/evaluate", 1) + ".log",
    conda:
        "../../environment.yml"
    threads: 1
    shell:
        "python -m spikeproof evaluate --label {params.label} --log {log} --threads {threads} --data {input.data} "
        "--float-model {input.float_model} --model {input.model} --out {output}"


rule export:
    input:
        data=rules.prepare.output,
        model=final_model,
    output:
        network=FOLDER + "/network.safetensors",
        result=FOLDER + "/export.json",
    params:
        code=code_of("export", *CHAIN),
        label=label,
    log:
        FOLDER.replace("models", "logs/export", 1) + ".log",
    conda:
        "../../environment.yml"
    threads: 1
    shell:
        "python -m spikeproof export --label {params.label} --log {log} --threads {threads} --data {input.data} "
        "--model {input.model} --out {output.network} --result {output.result}"
