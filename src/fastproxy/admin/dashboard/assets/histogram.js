/** Percentiles of histograms: counts per bucket, the last one for all beyond the bounds. */

/**
 * Estimate a percentile, even within a bucket.
 * @param {number[]} boundsS upper bounds of all buckets but the last, in seconds
 * @param {number[]} counts
 * @param {number} part 0.99 for p99
 * @returns {number | null} seconds, null when nothing was counted; the last bound for what lies beyond it
 */
export function percentile(boundsS, counts, part) {
  const total = counts.reduce((sum, one) => sum + one, 0);
  if (total === 0) return null;
  let left = part * total;
  for (let i = 0; i < boundsS.length; i++) {
    if (counts[i] >= left && counts[i] > 0) {
      const low = i === 0 ? 0 : boundsS[i - 1];
      return low + (boundsS[i] - low) * (left / counts[i]);
    }
    left -= counts[i];
  }
  return boundsS.at(-1) ?? null;
}

/** Add the second histogram to the first. @param {number[]} into @param {number[]} counts */
export function add(into, counts) {
  for (let i = 0; i < counts.length; i++) into[i] = (into[i] ?? 0) + counts[i];
}
