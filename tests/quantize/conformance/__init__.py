"""What a vector quantizer must mean: 37 checks, run on this library and on vector-quantize-pytorch.

`adapters` brings both behind one face. Ours must pass them all. The other library is the differential
oracle: where it passes, both mean the same; where it is known to fail (`peers.FAILS`) it must fail, so
that every such check has shown that it can. `python -m tests.quantize.conformance` runs them and writes
the table in docs/quantizer_conformance.md.

Search (test_check_search)
    nearest_in_double_precision
    ties_go_to_the_lowest_index
    scale_invariance
    rotation_invariance
    shift_invariance
    images_give_the_codes_of_their_vectors

Learning (test_check_update)
    ema_closed_form
    ema_fixed_point
    quantized_by_the_codes_before_the_update
    counts_sum_to_the_valid_vectors
    eval_leaves_every_bit
    recomputed_activations_teach_once
    one_nan_leaves_the_codebook_finite
    half_modules_keep_float32_statistics
    kmeans_finds_the_clusters
    kmeans_never_runs_in_eval
    the_first_update_after_kmeans_keeps_the_scale
    dead_codes_revive_and_survive

Padding (test_check_padding)
    masked_is_dropped
    masked_is_dropped_with_projections
    masked_is_dropped_with_heads
    a_true_mask_is_no_mask_with_cosine_similarity
    a_batch_of_padding_only_is_finite

Losses and gradients (test_check_gradient)
    straight_through_is_the_identity
    commitment_and_its_gradient
    no_gradient_reaches_codes_that_follow_averages
    the_exact_gradient_reaches_learned_codes

Surroundings (test_check_system)
    decode_undoes_forward
    decode_of_minus_one_is_zero
    residual_walk_is_greedy
    residual_straight_through_is_the_identity
    residual_decodes_the_first_depths
    resumed_is_uninterrupted
    compiles_whole_for_eval
    compiles_whole_for_training
    exports
    memory_is_no_matrix_of_distances

The other files of this folder are what only ours can be asked: exact searches, estimators against their
matrices, updates against loops, every class compiled, exported and recomputed.
"""
