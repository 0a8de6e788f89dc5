"""OpenVINO GenAI: continuous batching with prefix caching, from a GGUF file."""

import sys

import openvino_genai as genai
from worker import work

scheduler = genai.SchedulerConfig()
scheduler.enable_prefix_caching = True
scheduler.cache_size = 4  # GB
scheduler.max_num_seqs = 128
pipeline = genai.LLMPipeline(sys.argv[1], "CPU", scheduler_config=scheduler)


def run(prompts: list[str], tokens: int) -> int:
    config = genai.GenerationConfig()
    config.max_new_tokens = tokens
    config.ignore_eos = True
    config.do_sample = False
    config.apply_chat_template = False
    pipeline.generate(prompts, config)
    return tokens * len(prompts)


work(run)
