#!/bin/sh
# Trains a model with Marian (pip install pymarian) on one core for a while: train.sh student|s2s PAIRS OUTPUT MINUTES
# PAIRS is what debian_pairs.py and vocabulary.py wrote.
set -eu
here=$(dirname "$0")
mkdir -p "$3"
OMP_NUM_THREADS=1 timeout --signal TERM "${4}m" python -m pymarian train \
    --config "$here/$1.yml" "$here/training.yml" --model "$3/model.npz" \
    --train-sets "$2/train.en" "$2/train.it" --vocabs "$2/vocab.spm" "$2/vocab.spm" \
    --log "$3/train.log" --quiet --after 100e || [ $? -eq 124 ]
