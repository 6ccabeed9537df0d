"""How trainings are computed: packs of stacked networks, compiled steps, CUDA graphs."""
