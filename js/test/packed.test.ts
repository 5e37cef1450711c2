import { afterEach, describe, expect, it, vi } from "vitest";
import { unpacked } from "../src/lib/packed.ts";

afterEach(() => vi.unstubAllGlobals());

describe("packed rows", () => {
  it("are what Python packed", async () => {
    const text = "eNpFi0EKgCAQRe8y6yHMNhXRRVRCySAcFNRZRXfP2vR37z/eBdnGALMS2BuEmoKPpaGCxaWyAoJmIfykWQo5gsFfODCt2N+2G75hZKL2nXFzlqiZmtnjYal4cz+O+SAT";
    expect(await unpacked(text)).toEqual([
      { rank: 0, tokens: ["<bos>", "\u00e9\u2028"], d: 0.333333, in_ball: true },
      { rank: 1, tokens: ["<bos>", "b"], d: null, in_ball: false },
    ]);
  });
  it("may be none", async () => {
    expect(await unpacked("eNqrrgUAAXUA+Q==")).toEqual([]);
  });
  it("say what is wrong where they cannot be read", async () => {
    await expect(unpacked("AAAA")).rejects.toThrow();
    vi.stubGlobal("DecompressionStream", undefined);
    await expect(unpacked("AAAA")).rejects.toThrow("this browser cannot read the saved inputs");
  });
});
