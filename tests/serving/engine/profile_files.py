"""A hand-made profile folder: attention linear in P, P q, N and K, everything else in its count."""

CHUNKS, CACHED, COUNTS, KEYS = (16, 64, 256), (0, 64, 512), (1, 4, 16), (16, 128, 1024)


def prompt_us(chunk, cached):
    """Linear in P, in P q and in nothing else."""
    return 3.0 + 0.02 * chunk + 0.0005 * chunk * (cached + (chunk + 1) / 2)


def decode_us(count, keys):
    return 0.1 * count + 0.001 * count * keys


def write_profile(folder, *, experts=False, skip=()):
    folder.mkdir(parents=True, exist_ok=True)
    rows = ["prefill_chunk,kv_prefill,n_decode,kv_decode,time_us"]
    rows += [f"0,0,{n},{k},{2.0 + decode_us(n, k)}" for n in COUNTS for k in KEYS]
    for p in CHUNKS:
        for h in CACHED:
            rows.append(f"{p},{h},0,0,{prompt_us(p, h)}")
            rows += [
                f"{p},{h},{n},{k},{prompt_us(p, h) + decode_us(n, k)}"
                for n in COUNTS
                for k in KEYS
                if (p, h, n, k) not in skip
            ]
    (folder / "attention.csv").write_text("\n".join(rows) + "\n")
    dense = ["layer,tokens,time_us"]
    for t in (1, 64, 256):
        dense += [f"qkv_proj,{t},{5 + t}", f"layernorm,{t},{1 + 0.5 * t}"]
        dense += [f"embedding,{t},3", f"final_layernorm,{t},{2 + 0.5 * t}"]
    (folder / "dense.csv").write_text("\n".join(dense) + "\n")
    heads = [f"lm_head,{s},{100 + s}\nsampler,{s},{10 + 2 * s}" for s in (1, 64)]
    (folder / "per_sequence.csv").write_text("layer,sequences,time_us\n" + "\n".join(heads) + "\n")
    (folder / "meta.yaml").write_text("gpu: Some Card\nmodel: some/model\nlist:\n  - gpu: other\n")
    if experts:
        moe = [f"{t},{a},{7 * a + 0.1 * t}" for t in (1, 64, 512) for a in (8, 64, 128)]
        (folder / "moe.csv").write_text("tokens,activated_experts,time_us\n" + "\n".join(moe))
    return folder
