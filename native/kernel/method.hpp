// What a run may set and what its steps remember beside its weights, by the names that engines/base.py gives them.
//
// A new optimizer begins in training/run.py and engines/base.py. Here it adds its settings and slots to the two
// tables, and its step to optimizer.hpp.
#pragma once

#include "shapes.hpp"

namespace onelayer {

enum Setting : int {
  kLearningRate, kAveraging, kL2, kL1, kGrouped, kMomentum, kNesterov, kSigmoid, kLabelSmoothing, kNoIntercept, kSettings
};

enum class Range { any, below_one, up_to_one };  // any number, [0, 1), [0, 1]

struct SettingRule {
  const char* name;
  bool each_step;  // one number for each step and run, (T, R); else one for each run, (R,)
  Range range;
};

inline constexpr SettingRule kSettingRules[kSettings] = {
    {"learning_rate", true, Range::any},     // eta
    {"averaging", true, Range::up_to_one},   // alpha; without it averages are not touched
    {"l2", false, Range::any},
    {"l1", false, Range::any},
    {"grouped", false, Range::any},          // 0 or 1: l1 is of the norm of a feature's weights over the classes
    {"momentum", false, Range::below_one},   // mu
    {"nesterov", false, Range::any},         // 0 or 1
    {"sigmoid", false, Range::any},          // 0 or 1: the K-sigmoid loss
    {"label_smoothing", false, Range::below_one},
    {"no_intercept", false, Range::any},     // 0 or 1: the gradient of b is taken for 0
};

// An array of the weights' shape and one of the biases'.
enum Slot : int { kVelocity, kAverage, kSlots };

struct SlotRule {
  const char* name;
  Setting used_by;  // steps read and write the slot where this is set
};

inline constexpr SlotRule kSlotRules[kSlots] = {{"velocity", kMomentum}, {"average", kAveraging}};

// A pointer into each slot; null where the slot is not in use.
template <class T>
struct SlotPointers {
  T* slots[kSlots] = {};
  ONELAYER_INLINE T* operator[](Slot slot) const { return slots[slot]; }
  ONELAYER_INLINE SlotPointers operator+(Index i) const {
    SlotPointers moved = *this;
    for (T*& slot : moved.slots) slot = slot ? slot + i : nullptr;
    return moved;
  }
};

// The loss of a run: the cross-entropy of its softmax, or the mean of K binary ones. Its targets are
// (1 - smoothing) onehot(y) + smoothing / K.
struct LossKind {
  bool sigmoid = false;
  double smoothing = 0;
};

// The settings of R runs in a pass of T batches.
struct Method {
  const double* settings[kSettings] = {};  // null is 0 for every run
  double of(Setting setting, Index run) const { return settings[setting] ? settings[setting][run] : 0.0; }
  LossKind loss_kind(Index run) const { return {of(kSigmoid, run) != 0, of(kLabelSmoothing, run)}; }
  bool groups(Index run) const { return of(kGrouped, run) != 0 && of(kL1, run) > 0; }
  bool uses(Slot slot) const { return settings[kSlotRules[slot].used_by] != nullptr; }
};

}  // namespace onelayer
