# A small language model, trained in fp32 on Python's manual, goes on with Perl's: all weights, and low-rank adapters alone. For gpt2.sh and llama.sh.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
language=(--task causal-lm --batch 16 --optimizer adamw --schedule cosine --warmup 20)
if [[ ! -e base/model.onnx ]]; then
  "$halftone" train start.onnx --data first.txt --val first-val.txt "${language[@]}" --precision fp32 --epochs "${BASE_EPOCHS:-3}" --lr 2e-3 \
    --out base --overwrite --quiet
fi
side_by_side all base/model.onnx --data second.txt --val second-val.txt "${language[@]}" --lr 5e-4 --epochs "${EPOCHS:-1}"
side_by_side lora base/model.onnx --data second.txt --val second-val.txt "${language[@]}" --lr 2e-3 --epochs "${EPOCHS:-1}" --lora r=8,alpha=16
