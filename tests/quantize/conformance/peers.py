"""What vector-quantize-pytorch 1.32 was seen to fail, and how: check to sentence."""

FAILS = {
    "shift_invariance": "19 % of the indices change",
    "recomputed_activations_teach_once": "the codebook learns twice from the batch",
    "one_nan_leaves_the_codebook_finite": "every code becomes NaN",
    "half_modules_keep_float32_statistics": "codes and averages become bfloat16",
    "kmeans_never_runs_in_eval": "an eval forward fits the codebook",
    "masked_is_dropped_with_projections": "RuntimeError: sizes 4 and 8 do not match",
    "masked_is_dropped_with_heads": "RuntimeError: sizes 4 and 8 do not match",
    "a_true_mask_is_no_mask_with_cosine_similarity": "commitment 0.196 with the mask, 0.027 without",
    "a_batch_of_padding_only_is_finite": "the loss is NaN",
    "decode_of_minus_one_is_zero": "gives the last code",
    "residual_straight_through_is_the_identity": "4 depths: the gradient is 4 times as large",
    "residual_decodes_the_first_depths": "refused unless the quantizer has dropout",
    "compiles_whole_for_eval": "branches on a value of the graph",
    "compiles_whole_for_training": "branches on a value of the graph",
    "exports": "branches on a value of the graph",
    "memory_is_no_matrix_of_distances": "the peak rises by 4.0 such matrices",
}
