"""A run's adapter, out of the run database, with transformers and peft (`vllm serve --lora-modules` works too)."""

import sys

import ttsd

if __name__ == "__main__":
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    run, base = int(sys.argv[1]), sys.argv[2]
    folder = ttsd.export(run, "adapter")
    tokenizer = AutoTokenizer.from_pretrained(base)
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), str(folder))
    prompt = tokenizer("# Change of a number", return_tensors="pt")
    print(tokenizer.decode(model.generate(**prompt, max_new_tokens=20)[0]))
    model.merge_and_unload().save_pretrained("merged")
