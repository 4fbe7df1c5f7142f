// The nearest allowed row of each cell, as the f32 search on the CPU finds it.
//
// The value of row c for cell x starts at -|c|^2 / 2 and takes one fused multiply-add per dimension,
// in their order, as there: so the values have the same bits. The highest wins, and the lowest row
// of equal ones.
//
// A block of 16 x 16 threads has 64 cells and goes through one slice of the rows, 64 at a time.
// A thread has 4 cells and 4 rows.

#define SIDE 16
#define EACH 4
#define TILE 64
#define DEPTH 16
#define NONE 0xffffffffu

extern "C" __global__ void __launch_bounds__(SIDE * SIDE) winners(
    const float *__restrict__ features,     // [cells, dimensions]
    const float *__restrict__ bank,         // [dimensions, rows]
    const float *__restrict__ start,        // [rows]; minus infinity in the padding
    const unsigned short *__restrict__ mask, // [cells, words]; not read if words is 0
    unsigned cells,
    unsigned rows, // a multiple of TILE
    unsigned dimensions,
    unsigned words,
    unsigned tiles, // of rows, per slice
    float *__restrict__ values,   // [slices, cells]
    unsigned *__restrict__ found) // [slices, cells]; NONE where no row is allowed, or none has a number
{
    __shared__ float of_cells[DEPTH][TILE];
    __shared__ float of_rows[DEPTH][TILE];
    __shared__ unsigned from_rows[TILE][SIDE];

    const unsigned x = threadIdx.x % SIDE, y = threadIdx.x / SIDE;
    const unsigned first = blockIdx.x * TILE;
    const unsigned begin = blockIdx.y * tiles * TILE;
    const unsigned stop = begin + tiles * TILE;
    const unsigned end = stop < rows ? stop : rows;

    float best[EACH];
    unsigned from[EACH];
    for (unsigned m = 0; m < EACH; m++) {
        best[m] = -__int_as_float(0x7f800000);
        from[m] = NONE;
    }
    for (unsigned tile = begin; tile < end; tile += TILE) {
        float sums[EACH][EACH];
        for (unsigned m = 0; m < EACH; m++)
            for (unsigned n = 0; n < EACH; n++)
                sums[m][n] = start[tile + n * SIDE + x];
        for (unsigned from_k = 0; from_k < dimensions; from_k += DEPTH) {
            const unsigned left = dimensions - from_k;
            const unsigned depth = left < DEPTH ? left : DEPTH;
            __syncthreads();
            for (unsigned i = threadIdx.x; i < DEPTH * TILE; i += SIDE * SIDE) {
                // Neighbouring threads read neighbouring numbers of both.
                const unsigned cell = i / DEPTH, k = i % DEPTH;
                const bool there = first + cell < cells && k < depth;
                of_cells[k][cell] =
                    there ? features[(unsigned long long)(first + cell) * dimensions + from_k + k] : 0.0f;
                const unsigned row = i % TILE, k_of_row = i / TILE;
                of_rows[k_of_row][row] =
                    k_of_row < depth ? bank[(unsigned long long)(from_k + k_of_row) * rows + tile + row] : 0.0f;
            }
            __syncthreads();
            for (unsigned k = 0; k < depth; k++) {
                float a[EACH], b[EACH];
                for (unsigned m = 0; m < EACH; m++) {
                    a[m] = of_cells[k][y * EACH + m];
                    b[m] = of_rows[k][m * SIDE + x];
                }
                for (unsigned m = 0; m < EACH; m++)
                    for (unsigned n = 0; n < EACH; n++)
                        sums[m][n] = __fmaf_rn(a[m], b[n], sums[m][n]);
            }
        }
        for (unsigned m = 0; m < EACH; m++) {
            const unsigned cell = first + y * EACH + m;
            for (unsigned n = 0; n < EACH; n++) {
                const unsigned row = tile + n * SIDE + x;
                const bool allowed =
                    words == 0 ||
                    (cell < cells && row / 16 < words &&
                     mask[(unsigned long long)cell * words + row / 16] >> row % 16 & 1);
                if (allowed && sums[m][n] > best[m]) {
                    best[m] = sums[m][n];
                    from[m] = row;
                }
            }
        }
    }
    // The best of the sixteen threads that have the same cells.
    __syncthreads();
    float *best_of = &of_cells[0][0]; // [TILE, SIDE]
    for (unsigned m = 0; m < EACH; m++) {
        best_of[(y * EACH + m) * SIDE + x] = best[m];
        from_rows[y * EACH + m][x] = from[m];
    }
    __syncthreads();
    const unsigned cell = threadIdx.x;
    if (cell < TILE && first + cell < cells) {
        float most = best_of[cell * SIDE];
        unsigned row = from_rows[cell][0];
        for (unsigned i = 1; i < SIDE; i++) {
            const float value = best_of[cell * SIDE + i];
            const unsigned other = from_rows[cell][i];
            if (value > most || (value == most && other < row)) {
                most = value;
                row = other;
            }
        }
        const unsigned long long at = (unsigned long long)blockIdx.y * cells + first + cell;
        values[at] = most;
        found[at] = row;
    }
}
