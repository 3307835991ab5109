// MULT18X18D of Lattice's ECP5: a multiplier of 18 by 18 bits, as Yosys uses it.
//
// Written for this project from the public description (Lattice FPGA-TN-02205, ECP5 and ECP5-5G
// sysDSP Usage Guide): P is the product of A and B, each with a sign where its SIGNED input is
// high. Modelled is the block without registers and with its own inputs. What is not modelled is
// refused: registers and ports that Yosys leaves open when the model is built, a chain (SOURCEA,
// SOURCEB) when it happens.
module MULT18X18D (
  input A17, A16, A15, A14, A13, A12, A11, A10, A9, A8, A7, A6, A5, A4, A3, A2, A1, A0,
  input B17, B16, B15, B14, B13, B12, B11, B10, B9, B8, B7, B6, B5, B4, B3, B2, B1, B0,
  input C17, C16, C15, C14, C13, C12, C11, C10, C9, C8, C7, C6, C5, C4, C3, C2, C1, C0,
  input SIGNEDA, SIGNEDB, SOURCEA, SOURCEB,
  output P35, P34, P33, P32, P31, P30, P29, P28, P27, P26, P25, P24, P23, P22, P21, P20, P19, P18,
  P17, P16, P15, P14, P13, P12, P11, P10, P9, P8, P7, P6, P5, P4, P3, P2, P1, P0,
  output SIGNEDP
);
  parameter REG_INPUTA_CLK = "NONE";
  parameter REG_INPUTB_CLK = "NONE";
  parameter REG_INPUTC_CLK = "NONE";
  parameter REG_PIPELINE_CLK = "NONE";
  parameter REG_OUTPUT_CLK = "NONE";

  generate
    if (REG_INPUTA_CLK != "NONE" || REG_INPUTB_CLK != "NONE" || REG_INPUTC_CLK != "NONE"
        || REG_PIPELINE_CLK != "NONE" || REG_OUTPUT_CLK != "NONE")
      $error("MULT18X18D: registers are not modelled");
  endgenerate

  wire [17:0] a = {
    A17, A16, A15, A14, A13, A12, A11, A10, A9, A8, A7, A6, A5, A4, A3, A2, A1, A0};
  wire [17:0] b = {
    B17, B16, B15, B14, B13, B12, B11, B10, B9, B8, B7, B6, B5, B4, B3, B2, B1, B0};
  // extended by the sign where there is one
  wire signed [35:0] left = {{18{SIGNEDA & a[17]}}, a};
  wire signed [35:0] right = {{18{SIGNEDB & b[17]}}, b};
  assign {
    P35, P34, P33, P32, P31, P30, P29, P28, P27, P26, P25, P24, P23, P22, P21, P20, P19, P18, P17,
    P16, P15, P14, P13, P12, P11, P10, P9, P8, P7, P6, P5, P4, P3, P2, P1, P0} = left * right;
  assign SIGNEDP = SIGNEDA | SIGNEDB;

  always @(*)
    if (SOURCEA | SOURCEB) begin
      $display("MULT18X18D: a chain of multipliers is not modelled");
      $stop;
    end
endmodule
