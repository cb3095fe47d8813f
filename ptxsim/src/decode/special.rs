//! Names of special registers (PTX ISA, "Special Registers").

use super::Special;

/// The special register of a name with its `%`, and how many bits it has (1 for a predicate).
pub(super) fn special(name: &str) -> Option<(Special, u32)> {
    use Special::*;
    Some(match name {
        "%tid.x" => (TidX, 32),
        "%tid.y" => (TidY, 32),
        "%tid.z" => (TidZ, 32),
        "%ntid.x" => (NtidX, 32),
        "%ntid.y" => (NtidY, 32),
        "%ntid.z" => (NtidZ, 32),
        "%ctaid.x" => (CtaidX, 32),
        "%ctaid.y" => (CtaidY, 32),
        "%ctaid.z" => (CtaidZ, 32),
        "%nctaid.x" => (NctaidX, 32),
        "%nctaid.y" => (NctaidY, 32),
        "%nctaid.z" => (NctaidZ, 32),
        "%laneid" => (LaneId, 32),
        "%warpid" => (WarpId, 32),
        "%nwarpid" => (NwarpId, 32),
        "%smid" => (SmId, 32),
        "%nsmid" => (NsmId, 32),
        "%gridid" => (GridId, 64),
        "%lanemask_eq" => (LanemaskEq, 32),
        "%lanemask_le" => (LanemaskLe, 32),
        "%lanemask_lt" => (LanemaskLt, 32),
        "%lanemask_ge" => (LanemaskGe, 32),
        "%lanemask_gt" => (LanemaskGt, 32),
        "%clusterid.x" => (ClusterIdX, 32),
        "%clusterid.y" => (ClusterIdY, 32),
        "%clusterid.z" => (ClusterIdZ, 32),
        "%nclusterid.x" => (NclusterIdX, 32),
        "%nclusterid.y" => (NclusterIdY, 32),
        "%nclusterid.z" => (NclusterIdZ, 32),
        "%cluster_ctaid.x" => (ClusterCtaidX, 32),
        "%cluster_ctaid.y" => (ClusterCtaidY, 32),
        "%cluster_ctaid.z" => (ClusterCtaidZ, 32),
        "%cluster_nctaid.x" => (ClusterNctaidX, 32),
        "%cluster_nctaid.y" => (ClusterNctaidY, 32),
        "%cluster_nctaid.z" => (ClusterNctaidZ, 32),
        "%cluster_ctarank" => (ClusterCtarank, 32),
        "%cluster_nctarank" => (ClusterNctarank, 32),
        "%is_explicit_cluster" => (IsExplicitCluster, 1),
        "%dynamic_smem_size" => (DynamicSmemSize, 32),
        "%total_smem_size" => (TotalSmemSize, 32),
        _ => return None,
    })
}

/// Registers that tell the time: they change while a warp lives, so only `mov` may read them.
/// What `imm` of [`crate::machine::control::clock`] says is returned: 0 for the lower half of the
/// count, 1 for all its 64 bits, 2 for the upper half.
pub(super) fn clock(name: &str) -> Option<i64> {
    match name {
        "%clock" | "%globaltimer_lo" => Some(0),
        "%clock64" | "%globaltimer" => Some(1),
        "%clock_hi" | "%globaltimer_hi" => Some(2),
        _ => None,
    }
}
