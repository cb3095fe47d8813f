//! Launch code: one module an op. Each checks shapes and addresses, chooses the variant of the
//! kernel and fills its argument. Nothing here allocates, waits or reads back, so that any launch
//! can be recorded in a graph; shapes that disagree are programmer faults and panic with the
//! values, and the errors are those of the device.

pub mod attention;
