// The kernels of one instruction set. CMake compiles this file once per set, with its flags and with
// ONELAYER_KERNELS naming the namespace.
#include "backward.hpp"
#include "class_sums.hpp"
#include "columns.hpp"
#include "dual_sweep.hpp"
#include "fingerprints.hpp"
#include "forward.hpp"
#include "loss.hpp"
#include "newton.hpp"
#include "sparse.hpp"
#include "vectors.hpp"

namespace onelayer::ONELAYER_KERNELS {

extern const Kernels<float> float_kernels = {kLanes<float>, kSharing, kBlockColumns, score<float>, residual<float>,
                                             evaluate<float>, backward<float>, step_groups<float>,
                                             residual_sums<float>, class_sums, row_sums, add_scaled, byte_sums,
                                             sparse_scores<float>, sparse_add<float>, sparse_step<float>, newton,
                                             row_words, block_products<float>, block_combination<float>,
                                             sparse_products<float>, sparse_block, dual_sweep<float>};
extern const Kernels<double> double_kernels = {kLanes<double>, kSharing, kBlockColumns, score<double>, residual<double>,
                                               evaluate<double>, backward<double>, step_groups<double>,
                                               residual_sums<double>, class_sums, row_sums, add_scaled, byte_sums,
                                               sparse_scores<double>, sparse_add<double>, sparse_step<double>, newton,
                                               row_words, block_products<double>, block_combination<double>,
                                               sparse_products<double>, sparse_block, dual_sweep<double>};
extern const ColumnKernels column_kernels = {read_columns, column_sum,  add_column, scaled_column,
                                             gram,         logistic,    divergence};

}  // namespace onelayer::ONELAYER_KERNELS
