"""vLLM on a CPU, float32, with prefix caching, from a Hugging Face folder."""

import sys

from vllm import LLM, SamplingParams
from worker import work


def main() -> None:
    llm = LLM(
        model=sys.argv[1], dtype="float32", enable_prefix_caching=True, max_model_len=4096,
        max_num_seqs=128,
    )  # fmt: skip

    def run(prompts: list[str], tokens: int) -> int:
        sampling = SamplingParams(temperature=0, max_tokens=tokens, ignore_eos=True)
        outputs = llm.generate(prompts, sampling, use_tqdm=False)
        return sum(len(output.outputs[0].token_ids) for output in outputs)

    work(run)


if __name__ == "__main__":  # vLLM starts processes that import this file
    main()
