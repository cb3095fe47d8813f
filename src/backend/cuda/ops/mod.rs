//! Launch code of the ops: checks shapes and addresses, chooses the kernel, fills its arguments and
//! starts it. Nothing here allocates, waits or reads from the device, so that all of it can be
//! recorded in a graph. What disagrees is a programmer's fault and panics with the values.

pub mod activation;
mod check;
pub mod embed;
pub mod gather;
pub mod norm;
//! Launch code: one module an op. Each checks shapes and addresses, chooses the variant of the
//! kernel and fills its argument. Nothing here allocates, waits or reads back, so that any launch
//! can be recorded in a graph; shapes that disagree are programmer faults and panic with the
//! values, and the errors are those of the device.

pub mod attention;
